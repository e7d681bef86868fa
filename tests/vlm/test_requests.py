"""Families whose entries hold all images of a request."""

from __future__ import annotations

import pytest
import zoo
from harness import embedded, prepared, same

from visioncache import VisionFeatureCache
from visioncache.vlm import attach

A, B, _ = zoo.photos()


def test_what_a_model_refuses_to_see_together_stays_refused() -> None:
    tiny = zoo.build("paddleocr_vl")
    frames = [A, B.resize(A.size)]  # of one size: the processor makes them one clip
    with pytest.raises(ValueError, match="broadcast"):
        embedded(tiny, prepared(tiny, frames, tiny.prompt(1)))
    cache = VisionFeatureCache()
    with attach(tiny.model, tiny.processor, cache):
        with pytest.raises(ValueError, match="broadcast"):
            embedded(tiny, prepared(tiny, frames, tiny.prompt(1)))
        assert len(cache) == 0


def test_the_padding_that_other_images_bring_belongs_to_the_identity() -> None:
    tiny = zoo.build("granite_vision")
    wide = A.resize((64, 16))  # two tiles; A has four
    requests = [[wide], [wide, A], [A, wide]]
    plain = [embedded(tiny, prepared(tiny, request)) for request in requests]
    cache = VisionFeatureCache()
    with attach(tiny.model, tiny.processor, cache):
        for _ in range(2):
            ours = [embedded(tiny, prepared(tiny, request)) for request in requests]
            assert all(map(same, plain, ours))
    assert len(cache) == len(requests)
    assert plain[0]["inputs_embeds"].shape != plain[1]["inputs_embeds"].shape
