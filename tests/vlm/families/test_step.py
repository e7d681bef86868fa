"""Step 3.7: windows of large images stand beside the views of all."""

from __future__ import annotations

from typing import Any

import pytest
import zoo
from harness import but_for_pixels, embedded, prepared, same

from visioncache import VisionFeatureCache
from visioncache.vlm import attach

A, B, _ = zoo.photos()
LARGE = B.resize((1100, 400))  # four windows


def images_of(names: str) -> list[Any]:
    return [{"a": A, "b": B, "l": LARGE}[name] for name in names]


@pytest.mark.parametrize("names", ["l", "la", "al", "ll", "bla"])
def test_windows_are_their_own_images(names: str) -> None:
    tiny, images = zoo.build("step3p7"), images_of(names)
    inputs = prepared(tiny, images)
    assert inputs["num_patches"].tolist() == [4 if name == "l" else 0 for name in names]
    plain = embedded(tiny, inputs)
    cache = VisionFeatureCache()
    with attach(tiny.model, tiny.processor, cache) as attached:
        given = prepared(tiny, images)
        assert same(but_for_pixels(given, attached), but_for_pixels(inputs, attached))
        miss = embedded(tiny, given)
        assert cache.info().misses == len(set(names))
        before = attached.stages.totals()
        assert same(embedded(tiny, prepared(tiny, images)), miss)
        work = attached.stages.totals().since(before).counts
        assert (work["decode"], work["preprocess"], work["tower"]) == (0, 0, 0)
        assert same(embedded(tiny, prepared(tiny, images[:1])), embedded(tiny, prepared(tiny, images[:1])))
    one, other = plain["inputs_embeds"], miss["inputs_embeds"]
    assert one.shape == other.shape
    assert abs(one - other).max().item() <= 1e-4 * abs(one).max().item()


def test_features_that_are_given_win() -> None:
    tiny = zoo.build("step3p7")
    inputs = prepared(tiny, [A])
    features = embedded(tiny, prepared(tiny, [B]))["inputs_embeds"][0, 1:50]  # a view is 49 tokens
    plain = embedded(tiny, {**inputs, "image_embeds": features})
    cache = VisionFeatureCache()
    with attach(tiny.model, tiny.processor, cache):
        assert same(embedded(tiny, {**prepared(tiny, [A]), "image_embeds": features}), plain)
    assert len(cache) == 0
