"""PLaMo 2 VL: images that are cut while the prompt is written, into as many tiles as it has room for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import zoo
from harness import but_for_pixels, embedded, prepared, same
from zoo import plamo2vl

from visioncache import VisionFeatureCache
from visioncache.vlm import attach

A, B, C = zoo.photos()


def counts(attachment: Any) -> tuple[int, int]:
    work = attachment.stages.totals().counts
    return work["preprocess"], work["tower"]


def test_what_the_model_is_given_is_what_mlx_vlm_prepares() -> None:
    tiny = zoo.build("plamo2vl")
    plain = prepared(tiny, [A, B, A, C])
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attachment:
        ours = prepared(tiny, [A, B, A, C])
        assert same(but_for_pixels(ours, attachment), but_for_pixels(plain, attachment))
        assert same(embedded(tiny, ours), embedded(tiny, plain))


def test_where_the_prompt_has_less_room_an_image_is_another() -> None:
    tiny = plamo2vl.build(room=120)  # 25 tiles of four tokens and their marks for one image, not for two
    requests = [[A], [A, B], [B], [A, B, C], [B, A], [A]]
    plain = [prepared(tiny, request) for request in requests]
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attachment:
        for request, expected in zip(requests, plain, strict=True):
            inputs = prepared(tiny, request)
            assert inputs["pixel_values"].shape == expected["pixel_values"].shape
            assert inputs["input_ids"].tolist() == expected["input_ids"].tolist()
            ours = embedded(tiny, inputs)["inputs_embeds"]
            with attachment.bypass():
                theirs = embedded(tiny, expected)["inputs_embeds"]
            assert abs(ours - theirs).max().item() <= 1e-4 * abs(theirs).max().item()
        work = counts(attachment)
        for request in requests:
            embedded(tiny, prepared(tiny, request))
        assert counts(attachment) == work
        assert attachment.cache.info().hits > 0


def test_a_known_file_is_not_decoded(tmp_path: Any) -> None:
    tiny = zoo.build("plamo2vl")
    path = tmp_path / "a.png"
    A.save(path)
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attachment:
        miss = embedded(tiny, prepared(tiny, [str(path)]))
        assert same(embedded(tiny, prepared(tiny, [str(path)])), miss)
        assert attachment.stages.totals().counts["decode"] == 1


def test_a_file_of_another_size_is_another_image(tmp_path: Any) -> None:
    tiny = zoo.build("plamo2vl")
    path = tmp_path / "a.png"
    A.save(path)
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attachment:
        embedded(tiny, prepared(tiny, [str(path)]))
        B.save(path)
        ours = prepared(tiny, [str(path)])
        again = embedded(tiny, ours)
    plain = prepared(tiny, [B])
    assert same(but_for_pixels(ours, attachment), but_for_pixels(plain, attachment))
    assert same(again, embedded(tiny, plain))


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_what_the_processor_is_handed_itself(mode: str) -> None:
    """It cuts before it makes an image RGB, so what is not RGB is left to it."""
    tiny = zoo.build("plamo2vl")
    image = A.convert(mode)
    plain = tiny.processor("What is it?", [image], return_tensors="mlx")
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attachment:
        ours = tiny.processor("What is it?", [image], return_tensors="mlx")
        known = [but_for_pixels(inputs, attachment) if mode == "RGB" else inputs for inputs in (ours, plain)]
        assert known[0].keys() == known[1].keys()
        assert all(np.array_equal(np.array(known[0][name]), np.array(known[1][name])) for name in plain)
        tiny.processor("What is it?", image, return_tensors="mlx")
        assert counts(attachment)[0] == 2 * (mode == "RGB")


def test_a_question_that_does_not_fit_its_images_says_so() -> None:
    tiny = zoo.build("plamo2vl")
    with attach(tiny.model, tiny.processor, VisionFeatureCache()):
        with pytest.raises(ValueError, match="do not match"):
            prepared(tiny, [A], "<plamo:image>What?")
        with pytest.raises(ValueError, match="At least one image"):
            tiny.processor("What?", [])
