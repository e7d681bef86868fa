"""attach on a tiny LLaVA-Bunny, whose image processor mlx-vlm calls itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mlx_vlm
import pytest
import zoo
from harness import embedded, prepared, same
from mlx_vlm.models.base import BaseImageProcessor

from visioncache import VisionFeatureCache
from visioncache.vlm import attach

if TYPE_CHECKING:
    from pathlib import Path

A, B, _ = zoo.photos()


@pytest.fixture
def tiny() -> zoo.Tiny:
    return zoo.build("llava_bunny")


def pictured(tiny: zoo.Tiny, image: Any, **options: Any) -> Any:
    inputs = mlx_vlm.prepare_inputs(
        tiny.processor,
        images=[image],
        prompts=tiny.prompt(1),
        image_token_index=tiny.model.config.image_token_index,
        **options,
    )
    return embedded(tiny, inputs)


def test_what_the_model_is_given_is_what_mlx_vlm_prepares(tiny: zoo.Tiny) -> None:
    plain = prepared(tiny, [A])
    with attach(tiny.model, tiny.processor, VisionFeatureCache()):
        ours = prepared(tiny, [A])
        again = prepared(tiny, [B])
    assert same({**ours}, {**plain})
    assert again["pixel_values"].shape == plain["pixel_values"].shape


def test_a_file_is_not_opened_on_a_hit(tiny: zoo.Tiny, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    A.save(path)
    cache = VisionFeatureCache()
    with attach(tiny.model, tiny.processor, cache) as attachment:
        miss = pictured(tiny, str(path))
        hit = pictured(tiny, str(path))
        counts = attachment.stages.totals().counts
    assert same(miss, hit)
    assert (counts["decode"], counts["preprocess"], counts["tower"]) == (1, 1, 1)


def test_a_resize_shape_is_ignored_as_mlx_vlm_ignores_it(tiny: zoo.Tiny) -> None:
    cache = VisionFeatureCache()
    with attach(tiny.model, tiny.processor, cache):
        plain = pictured(tiny, A)
        with pytest.warns(UserWarning, match="ignored because ImageProcessor"):
            assert same(pictured(tiny, A, resize_shape=(8, 8)), plain)
    assert (cache.info().hits, cache.info().misses) == (1, 1)


def test_a_setting_made_while_attached_is_made_and_never_hits(tiny: zoo.Tiny) -> None:
    cache = VisionFeatureCache()
    with attach(tiny.model, tiny.processor, cache):
        pictured(tiny, A)
        tiny.processor.image_processor.image_mean = (0.4, 0.5, 0.5)
        changed = pictured(tiny, A)
    assert cache.info().misses == 2
    assert isinstance(tiny.processor.image_processor, BaseImageProcessor)
    assert same(pictured(tiny, A), changed)
