"""Muse Spark and Muse Glimmer: pictures in lists, and films and sounds beside them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import zoo
from harness import but_for_pixels, embedded, prepared, same
from mlx_vlm.utils import prepare_inputs

from visioncache import VisionFeatureCache
from visioncache.vlm import attach

A, B, C = zoo.photos()


@pytest.fixture
def spark() -> zoo.Tiny:
    return zoo.build("muse_spark")


def film(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (4, 3, 64, 48), dtype=np.uint8)


def sound(pitch: float) -> np.ndarray:
    return np.sin(np.arange(200, dtype=np.float32) * pitch)


def asked(tiny: zoo.Tiny, images: list[Any], video: np.ndarray, audio: np.ndarray) -> dict[str, Any]:
    prompt = "<|audio|> and <|video|> and " + tiny.prompt(len(images))
    return prepare_inputs(
        tiny.processor, images=images, videos=[video], audio=[audio], prompts=prompt, add_special_tokens=False
    )


def test_pictures_beside_films_and_sounds(spark: zoo.Tiny) -> None:
    requests = [
        ([A, B], film(1), sound(0.1)),
        ([B, A], film(2), sound(0.1)),
        ([A, A], film(2), sound(0.3)),
    ]
    plain = [embedded(spark, asked(spark, *request)) for request in requests]
    with attach(spark.model, spark.processor, VisionFeatureCache()) as attachment:
        ours = [embedded(spark, asked(spark, *request)) for request in requests]
        assert attachment.stages.totals().counts["tower"] == 2
    # Each picture goes through the tower by itself, with a cache or without: not a bit differs.
    assert all(same(one, other) for one, other in zip(plain, ours, strict=True))


def test_a_list_that_was_changed_is_not_taken_for_what_it_was(spark: zoo.Tiny) -> None:
    turned = A.transpose(0)  # of the same size, so that nothing else would notice
    with attach(spark.model, spark.processor, VisionFeatureCache()):
        inputs = prepared(spark, [A, B])
        other = prepared(spark, [A, turned])
        embedded(spark, inputs)
        known = prepared(spark, [A, B])["pixel_values"]
        for pixels in ([known[1], known[0]], [known[0], other["pixel_values"][1]], known[:1]):
            with pytest.raises(ValueError, match="was changed on its way"):
                embedded(spark, {**other, "pixel_values": pixels})


def test_a_picture_alone_is_no_list_of_its_colours(spark: zoo.Tiny) -> None:
    inputs = prepared(spark, [A])
    plain = embedded(spark, inputs)
    (pixels,) = inputs["pixel_values"]
    with attach(spark.model, None, VisionFeatureCache()) as attachment:
        for _ in range(2):
            assert same(embedded(spark, {**inputs, "pixel_values": pixels}), plain)
        assert attachment.stages.totals().counts["tower"] == 1


@pytest.mark.parametrize("kind", ["RGBA", "L", "array"])
def test_what_the_processor_is_handed_itself(spark: zoo.Tiny, kind: str) -> None:
    image = np.asarray(A) if kind == "array" else A.convert(kind)
    plain = spark.processor([spark.prompt(1)], image)
    with attach(spark.model, spark.processor, VisionFeatureCache()) as attachment:
        with attachment.bypass():
            assert same({**spark.processor([spark.prompt(1)], image)}, {**plain})
        ours = spark.processor([spark.prompt(1)], image)
        assert same(but_for_pixels(ours, attachment), but_for_pixels(plain, attachment))
        for _ in range(2):
            embedded(spark, dict(spark.processor([spark.prompt(1)], images=[image])))
        assert attachment.stages.totals().counts["tower"] == 1


def test_several_prompts_share_the_list(spark: zoo.Tiny) -> None:
    prompts = [spark.prompt(2), "Or " + spark.prompt(1)]
    plain = spark.processor(prompts, [A, B, A])
    given = embedded(spark, dict(plain))
    with attach(spark.model, spark.processor, VisionFeatureCache()) as attachment:
        for _ in range(2):
            assert same(embedded(spark, dict(spark.processor(prompts, [A, B, A]))), given)
        assert attachment.stages.totals().counts["tower"] == 2
