"""MiniCPM: lists by prompt, films between images, and how many patches become a token."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import zoo
from harness import embedded, prepared, same

from visioncache import VisionFeatureCache
from visioncache.vlm import attach

A, B, C = zoo.photos()
V = ["minicpmv4_6", "minicpmv4_7"]


@pytest.fixture
def cache() -> VisionFeatureCache:
    return VisionFeatureCache()


@pytest.mark.parametrize("family", ["minicpmo", *V])
def test_prompts_share_images_whoever_has_how_many(family: str, cache: VisionFeatureCache) -> None:
    tiny = zoo.build(family)

    def given() -> dict[str, Any]:
        prompts = [tiny.prompt(2), tiny.prompt(0), tiny.prompt(1)]
        return embedded(tiny, prepared(tiny, [[A, B], [], [A]], prompts))

    plain = given()
    with attach(tiny.model, tiny.processor, cache) as attachment:
        assert same(given(), plain)
        assert same(given(), plain)
        assert attachment.stages.totals().counts["tower"] == len(cache) == 2


@pytest.mark.parametrize("family", ["minicpmo", "minicpmv4_6"])
def test_images_that_have_no_place_in_the_prompt_are_seen_as_without_a_cache(
    family: str, cache: VisionFeatureCache
) -> None:
    """MiniCPM-V 4.6 puts them before all others."""
    tiny = zoo.build(family)

    def given() -> dict[str, Any]:
        return embedded(tiny, prepared(tiny, [A, B], tiny.prompt(1)))

    plain = given()
    with attach(tiny.model, tiny.processor, cache):
        assert same(given(), plain)
        assert same(given(), plain)
        assert same(embedded(tiny, prepared(tiny, [B])), embedded(tiny, prepared(tiny, [B])))
    assert cache.info().hits > 0


@pytest.mark.parametrize("family", V)
def test_a_film_between_images_is_seen_as_without_a_cache(family: str, cache: VisionFeatureCache) -> None:
    tiny = zoo.build(family)
    film = [np.array(C), np.array(C.rotate(90))]

    def given(image: Any) -> dict[str, Any]:
        text = "<|image_pad|>\n<|video_pad|>\nWhat differs?"
        return embedded(tiny, _as_mlx(tiny.processor(text=text, images=[image], videos=[film])))

    plain = [given(A), given(B)]
    with attach(tiny.model, tiny.processor, cache) as attachment:
        for _ in range(2):
            assert same([given(A), given(B)], plain)
        assert attachment.stages.totals().counts["tower"] == 2  # a request is one entry


def test_tokens_of_fewer_patches_are_other_entries(cache: VisionFeatureCache) -> None:
    tiny = zoo.build("minicpmv4_7")

    def given(mode: str) -> dict[str, Any]:
        inputs = tiny.processor(text=tiny.prompt(1), images=[A], downsample_mode=mode)
        return embedded(tiny, _as_mlx(inputs))

    plain = {mode: given(mode) for mode in ("4x", "16x")}
    assert not same(plain["4x"], plain["16x"])
    with attach(tiny.model, tiny.processor, cache):
        for mode in ("4x", "16x", "4x"):
            assert same(given(mode), plain[mode])
    assert len(cache) == 2
    with attach(tiny.model, None, cache):
        for mode in ("4x", "16x", "4x"):
            assert same(given(mode), plain[mode])
    assert len(cache) == 4


@pytest.mark.parametrize("family", V)
def test_a_setting_of_the_model_is_part_of_the_identity(family: str, cache: VisionFeatureCache) -> None:
    tiny = zoo.build(family)
    tiny.processor.image_processor.downsample_mode = "4x"
    fine = prepared(tiny, [A])
    tiny.processor.image_processor.downsample_mode = "16x"
    coarse = prepared(tiny, [A])
    for inputs in (fine, coarse):
        inputs.pop("downsample_mode", None)
    with attach(tiny.model, None, cache):
        embedded(tiny, coarse)
        tiny.model.config.downsample_mode = "4x"
        embedded(tiny, fine)
    assert same(fine["pixel_values"], coarse["pixel_values"])
    assert len(cache) == 2


def test_what_the_model_is_told_otherwise_does_not_reach_the_cache(cache: VisionFeatureCache) -> None:
    tiny = zoo.build("minicpmv4_6")
    plain = embedded(tiny, prepared(tiny, [A]))
    with pytest.raises(ValueError, match="does not match"):  # mlx-vlm's own
        embedded(tiny, {**prepared(tiny, [A]), "downsample_mode": "4x"})
    with attach(tiny.model, tiny.processor, cache):
        with pytest.raises(ValueError, match="its processor counted other tokens"):
            embedded(tiny, {**prepared(tiny, [A]), "downsample_mode": "4x"})
        assert same(embedded(tiny, prepared(tiny, [A])), plain)


def _as_mlx(inputs: dict[str, Any]) -> dict[str, Any]:
    named = {n: mx.array(inputs[n]) for n in ("input_ids", "attention_mask")}
    return {**inputs, **named}
