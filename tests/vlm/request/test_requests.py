"""Families whose images depend on the others of a request: on what they hold, or on their sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import zoo
from harness import but_for_pixels, embedded, prepared, same
from twins import Scene, assert_alike

from visioncache import VisionFeatureCache
from visioncache.vlm import attach

if TYPE_CHECKING:
    from pathlib import Path

A, B, C = zoo.photos()


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


def test_images_in_a_list_of_several_are_cut_as_without_a_cache() -> None:
    tiny = zoo.build("llava_onevision")
    plain = prepared(tiny, [[A, B]], tiny.prompt(2))
    assert not same(plain["pixel_values"], prepared(tiny, [A, B])["pixel_values"])
    cache = VisionFeatureCache()
    with attach(tiny.model, tiny.processor, cache) as attachment:
        embedded(tiny, prepared(tiny, [A, B]))
        ours = prepared(tiny, [[A, B]], tiny.prompt(2))
        assert same(but_for_pixels(ours, attachment), but_for_pixels(plain, attachment))
        with pytest.raises(ValueError, match="broadcast"):  # mlx-vlm's own, with a cache or without
            embedded(tiny, ours)
    with pytest.raises(ValueError, match="broadcast"):
        embedded(tiny, plain)
    assert len(cache) == 2


def test_films_of_smolvlm_are_images_frame_by_frame() -> None:
    tiny, cache = zoo.build("smolvlm"), VisionFeatureCache()

    def given() -> object:
        return embedded(tiny, dict(tiny.processor(videos=[[A, B]], text=[tiny.prompt(2)])))

    plain = given()
    with attach(tiny.model, tiny.processor, cache) as attachment:
        for _ in range(2):
            assert same(given(), plain)
        assert attachment.stages.totals().counts["tower"] == len(cache) == 2


@pytest.mark.parametrize("family", ["granite_vision", "granite4_vision"])
def test_the_padding_that_other_images_bring_belongs_to_the_identity(family: str) -> None:
    tiny = zoo.build(family)
    wide = A.resize((64, 16))  # two tiles; A has four
    requests = [[wide], [wide, A], [A, wide]]
    if family == "granite4_vision":  # takes padding for tiles: mlx-vlm fails with the smaller one first
        requests.remove([wide, A])
    plain = [embedded(tiny, prepared(tiny, request)) for request in requests]
    cache = VisionFeatureCache()
    with attach(tiny.model, tiny.processor, cache):
        for _ in range(2):
            ours = [embedded(tiny, prepared(tiny, request)) for request in requests]
            assert all(map(same, plain, ours))
    assert len(cache) == len(requests)


@pytest.mark.parametrize("family", ["idefics3", "smolvlm"])
def test_prompts_padded_to_the_most_tiles_share_their_images(family: str) -> None:
    tiny = zoo.build(family)
    requests = [[[A, B], [], [C]], [[C], [A, B]], [[B], [C]], [[B]]]
    prompts = [[tiny.prompt(len(beside)) for beside in images] for images in requests]
    plain = [prepared(tiny, *request) for request in zip(requests, prompts, strict=True)]
    given = [embedded(tiny, dict(inputs)) for inputs in plain]
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attachment:
        ours = prepared(tiny, requests[0], prompts[0])
        assert same(but_for_pixels(ours, attachment), but_for_pixels(plain[0], attachment))
        for _ in range(2):
            for images, texts, own in zip(requests, prompts, given, strict=True):
                assert same(embedded(tiny, prepared(tiny, images, texts)), own)
        assert attachment.stages.totals().counts["tower"] == 3


def test_prompts_whose_images_lie_beside_each_other_are_one_entry() -> None:
    tiny = zoo.build("mllama")

    def given(images: list[list[object]]) -> dict[str, object]:
        prompts = [tiny.prompt(len(beside)) for beside in images]
        inputs = tiny.processor(images=images, text=prompts, padding=True, padding_side="left")
        return embedded(tiny, dict(inputs))

    plain, other = given([[A], [B, A]]), given([[B], [A, A]])
    cache = VisionFeatureCache()
    with attach(tiny.model, tiny.processor, cache) as attachment:
        for _ in range(2):
            assert same(given([[A], [B, A]]), plain)
            assert same(given([[B], [A, A]]), other)
        work = attachment.stages.totals().counts
    assert not same(plain, other)
    assert (len(cache), work["preprocess"], work["tower"]) == (2, 2, 2)


def test_images_of_one_size_are_encoded_once_in_a_growing_chat() -> None:
    tiny, cache = zoo.build("idefics2"), VisionFeatureCache()
    small, other = A.resize((48, 48)), B.resize(A.size)
    requests = [[A], [A, other], [A, other, small], [small], [A, C], [A, small]]
    plain = [embedded(tiny, prepared(tiny, request)) for request in requests]
    with attach(tiny.model, tiny.processor, cache) as attachment:
        encoded = []
        for request, expected in zip(requests, plain, strict=True):
            before = attachment.stages.totals()
            given = embedded(tiny, prepared(tiny, request))["inputs_embeds"]
            # Alone or in a batch: the same sums in another order.
            assert abs(given - expected["inputs_embeds"]).max().item() < 1e-4
            encoded.append(attachment.stages.totals().since(before).counts["tower"])
    # C is higher than A, so that A is seen anew beside it.
    assert encoded == [1, 1, 1, 1, 2, 0]


def test_the_quarters_of_a_split_image_share_its_canvas() -> None:
    tiny, cache = zoo.build("idefics2"), VisionFeatureCache()
    tiny.processor.image_processor.do_image_splitting = True
    plain = embedded(tiny, prepared(tiny, [A, B, C]))["inputs_embeds"]
    with attach(tiny.model, tiny.processor, cache):
        for _ in range(2):
            given = embedded(tiny, prepared(tiny, [A, B, C]))["inputs_embeds"]
            assert abs(given - plain).max().item() < 1e-4
    assert (cache.info().misses, cache.info().hits) == (3, 3)


def test_a_file_that_changed_has_another_canvas(tmp_path: Path) -> None:
    tiny, path = zoo.build("idefics2"), tmp_path / "photo.png"
    plain = [embedded(tiny, prepared(tiny, [image, A])) for image in (A, B)]
    with attach(tiny.model, tiny.processor, VisionFeatureCache()):
        for image, expected in zip((A, B), plain, strict=True):
            image.save(path)
            given = embedded(tiny, prepared(tiny, [str(path), A]))["inputs_embeds"]
            assert abs(given - expected["inputs_embeds"]).max().item() < 1e-4


LEFT_OUT = {
    "glm4v": ["image_grid_thw"],
    "lfm2_vl": ["spatial_shapes", "pixel_attention_mask"],
    "minicpmo": ["tgt_sizes"],
    "mistral3": ["image_sizes"],
    "pixtral": ["image_sizes"],
    "qwen2_5_vl": ["image_grid_thw"],
    "qwen3_vl": ["image_grid_thw"],
}


@pytest.mark.parametrize(
    ("family", "name"), [(family, one) for family in LEFT_OUT for one in LEFT_OUT[family]]
)
def test_an_input_that_is_left_out_is_missed_as_without_a_cache(family: str, name: str) -> None:
    def play(scene: Scene) -> list[Any]:
        inputs = scene.prepare(A, B)
        assert inputs.pop(name) is not None
        return [scene.embed(inputs), scene.ask(A, B), scene.embed(inputs)]

    assert_alike(family, play)


@pytest.mark.parametrize("family", ["glm4v", "qwen2_5_vl", "qwen3_vl"])
def test_a_mask_may_be_a_list(family: str) -> None:
    def play(scene: Scene) -> list[Any]:
        inputs = scene.prepare(A)
        return [scene.embed({**inputs, "attention_mask": [*inputs["attention_mask"]]}) for _ in range(2)]

    assert_alike(family, play)
