"""DeepSeek-OCR and its kin: tiles of large images beside the views of all, as mlx-vlm places them."""

from __future__ import annotations

from typing import Any

import pytest
import zoo
from harness import but_for_pixels, embedded, prepared, same
from twins import outcome

from visioncache import VisionFeatureCache
from visioncache.vlm import attach

A, B, _ = zoo.photos()
LARGE, LONG = A.resize((900, 700)), B.resize((1400, 500))


def near(one: Any, other: Any) -> bool:
    first, second = one["inputs_embeds"], other["inputs_embeds"]
    alike = first.shape == second.shape and one.keys() == other.keys()
    return alike and (abs(first - second).max() <= 1e-4 * abs(first).max()).item()


@pytest.mark.parametrize("family", ["deepseekocr", "deepseekocr_2", "unlimited_ocr"])
@pytest.mark.parametrize("image", [LARGE, LONG])
def test_an_image_with_tiles_gives_the_bits_of_no_cache(family: str, image: Any) -> None:
    tiny = zoo.build(family)
    inputs = prepared(tiny, [image])
    assert inputs["images_spatial_crop"].prod().item() > 1
    plain = embedded(tiny, inputs)
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attached:
        given = prepared(tiny, [image])
        assert same(but_for_pixels(given, attached), but_for_pixels(inputs, attached))
        for _ in range(2):
            assert same(embedded(tiny, prepared(tiny, [image])), plain)
        assert attached.stages.totals().counts["tower"] == 1
    with attach(tiny.model, None, VisionFeatureCache()) as attached:
        for _ in range(2):
            assert same(embedded(tiny, dict(inputs)), plain)
        assert attached.stages.totals().counts["tower"] == 1


@pytest.mark.parametrize("images", [[LARGE, A], [A, LONG], [LONG, LARGE, LONG]])
def test_several_images_of_a_prompt_are_entries_of_their_own(images: list[Any]) -> None:
    tiny = zoo.build("unlimited_ocr")
    one_marker = "<image>Which is which?"
    for prompt in (None, one_marker):
        inputs = prepared(tiny, images, prompt)
        plain = embedded(tiny, inputs)
        cache = VisionFeatureCache()
        with attach(tiny.model, tiny.processor, cache) as attached:
            given = prepared(tiny, images, prompt)
            assert same(but_for_pixels(given, attached), but_for_pixels(inputs, attached))
            miss = embedded(tiny, given)
            assert len(cache) == len(set(map(id, images)))
            assert same(embedded(tiny, prepared(tiny, images, prompt)), miss)
            assert near(miss, plain)


@pytest.mark.parametrize("family", ["deepseekocr", "deepseekocr_2", "unlimited_ocr"])
@pytest.mark.parametrize("images", [[LARGE, LONG], [A, LONG], [LONG, A], [A, B]])
def test_prompts_of_a_batch_read_the_tiles_that_mlx_vlm_gives_them(family: str, images: list[Any]) -> None:
    tiny = zoo.build(family)
    prompts = [tiny.prompt(1)] * 2
    inputs = prepared(tiny, images, list(prompts))
    plain = embedded(tiny, inputs)
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attached:
        given = prepared(tiny, images, list(prompts))
        assert same(but_for_pixels(given, attached), but_for_pixels(inputs, attached))
        miss = embedded(tiny, given)
        assert near(miss, plain)
        assert same(embedded(tiny, prepared(tiny, images, list(prompts))), miss)
        assert attached.stages.totals().counts["tower"] == 2


@pytest.mark.parametrize("family", ["deepseekocr", "deepseekocr_2", "unlimited_ocr"])
@pytest.mark.parametrize("images", [[A, LARGE], [[A, LARGE]]], ids=["two", "a list in a list"])
def test_two_images_for_one_marker_are_what_the_processor_says(family: str, images: list[Any]) -> None:
    tiny = zoo.build(family)

    def ask() -> Any:
        return outcome(lambda: embedded(tiny, prepared(tiny, images, "<image>Which is which?")))

    plain = ask()
    with attach(tiny.model, tiny.processor, VisionFeatureCache()):
        for ours in (ask(), ask()):
            assert str(ours) == str(plain) if isinstance(plain, Exception) else near(ours, plain)
