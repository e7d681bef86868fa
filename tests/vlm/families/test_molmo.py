"""Molmo and Molmo 2: tokens without a place, batches of prompts, frames of a video."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import zoo
from harness import embedded, prepared, same
from zoo.molmo import SIDE

from visioncache import VisionFeatureCache
from visioncache.vlm import attach

A, B, _ = zoo.photos()


@pytest.fixture
def cache() -> VisionFeatureCache:
    return VisionFeatureCache()


def test_tokens_that_overlapping_crops_give_twice_are_kept_once(cache: VisionFeatureCache) -> None:
    tiny = zoo.build("molmo")
    inputs = prepared(tiny, [A])
    with attach(tiny.model, tiny.processor, cache):
        embedded(tiny, prepared(tiny, [A]))
    (key,) = cache.keys()
    places = np.array(inputs["image_input_idx"])
    assert cache.peek(key).shape[-2] == (places >= 0).sum() < len(inputs["pixel_values"]) * SIDE**2


def test_a_batch_of_prompts_of_molmo_is_embedded_as_without_a_cache(cache: VisionFeatureCache) -> None:
    tiny = zoo.build("molmo")
    alone = [prepared(tiny, [image]) for image in (A, A.rotate(180))]
    names = ("pixel_values", "image_masks", "image_input_idx")
    batch = {name: mx.stack([inputs[name] for inputs in alone]) for name in names}
    batch["input_ids"] = mx.concatenate([inputs["input_ids"] for inputs in alone])
    plain = embedded(tiny, batch)
    with attach(tiny.model, None, cache):
        miss, hit = embedded(tiny, batch), embedded(tiny, batch)
    assert cache.info().hits == 1
    assert same(plain, miss)
    assert same(miss, hit)


@pytest.mark.parametrize("other", [A.rotate(180), B])
def test_a_second_image_of_molmo_is_refused_as_without_a_cache(cache: VisionFeatureCache, other: Any) -> None:
    tiny = zoo.build("molmo")
    with pytest.raises(ValueError, match="Cannot reshape array"):
        embedded(tiny, prepared(tiny, [A, other]))
    with attach(tiny.model, tiny.processor, cache), pytest.raises(ValueError, match="Cannot reshape array"):
        embedded(tiny, prepared(tiny, [A, other]))


def test_a_batch_of_prompts_of_molmo2_is_looked_up_image_by_image(cache: VisionFeatureCache) -> None:
    tiny = zoo.build("molmo2")

    def asked() -> Any:
        inputs = prepared(tiny, [A, B, A], [tiny.prompt(1), tiny.prompt(2)])
        return embedded(tiny, inputs)["inputs_embeds"]

    plain = asked()
    with attach(tiny.model, tiny.processor, cache):
        miss, hit = asked(), asked()
    assert len(cache) == 2
    assert same(miss, hit)
    assert abs(plain - miss).max().item() <= 1e-4 * abs(plain).max().item()


def frames(tiny: zoo.Tiny, count: int, tokens: list[int]) -> dict[str, Any]:
    """A video as mlx-vlm's model takes it: frames for pixels, and which patches each token pools."""
    config = tiny.model.config
    patches = config.vision_config.vit_config.image_num_pos
    pixels = mx.random.normal((count, patches, 192), key=mx.random.key(1))
    pooling = mx.random.randint(0, count * patches, (tokens[0] * tokens[1], 4), key=mx.random.key(2))
    ids = [config.image_start_token_id, *[config.image_patch_id] * len(pooling), config.image_end_token_id]
    return {
        "input_ids": mx.array([[*ids, 65, 66]]),
        "pixel_values": pixels,
        "video_token_pooling": pooling,
        "video_grids": mx.array([[count, *tokens]]),
    }


def test_the_frames_of_a_video_of_molmo2_are_one_entry(cache: VisionFeatureCache) -> None:
    tiny = zoo.build("molmo2")
    videos = [frames(tiny, 3, [3, 4]), frames(tiny, 3, [2, 4])]
    plain = [embedded(tiny, video) for video in videos]
    with attach(tiny.model, None, cache):
        for _ in range(2):
            assert all(same(embedded(tiny, video), own) for video, own in zip(videos, plain, strict=True))
    assert (cache.info().misses, cache.info().hits) == (2, 2)
