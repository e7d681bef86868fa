"""Processors whose images become pixels elsewhere than in an image processor that they call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mlx_vlm
import numpy as np
import pytest
import zoo
from harness import asked, but_for_pixels, embedded, prepared, same
from mlx_vlm.models.base import BaseImageProcessor
from mlx_vlm.models.falcon_ocr import processing_falcon_ocr
from mlx_vlm.models.glm_ocr.processing import Glm46VImageProcessor

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


# An image processor that mlx-vlm calls past the processor: LLaVA-Bunny -----------------------------


def test_what_the_model_is_given_is_what_mlx_vlm_prepares(tiny: zoo.Tiny) -> None:
    plain = prepared(tiny, [A])
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attachment:
        ours = prepared(tiny, [A])
        again = prepared(tiny, [B])
        assert same(embedded(tiny, ours), embedded(tiny, dict(plain)))
    assert same(but_for_pixels(ours, attachment), but_for_pixels(plain, attachment))
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


# A function of the processor's module: Falcon-OCR -------------------------------------------------


def test_a_function_that_two_attachments_take_is_restored_by_the_last() -> None:
    before = processing_falcon_ocr.preprocess_image
    first, second, stranger = (zoo.build("falcon_ocr") for _ in range(3))
    plain = prepared(stranger, [A])
    caches = VisionFeatureCache(), VisionFeatureCache()
    attachments = [
        attach(tiny.model, tiny.processor, cache) for tiny, cache in zip((first, second), caches, strict=True)
    ]
    for tiny in (first, second):
        embedded(tiny, prepared(tiny, [A]))
    assert [len(cache) for cache in caches] == [1, 1]
    assert same(prepared(stranger, [A]), plain)
    attachments[0].detach()
    embedded(second, prepared(second, [A]))
    assert caches[1].info().hits == 1
    attachments[1].detach()
    assert processing_falcon_ocr.preprocess_image is before
    assert not hasattr(first.processor, "image_processor")


def test_a_processor_without_what_its_family_has_is_refused_in_one_line() -> None:
    tiny, other = zoo.build("qwen2_5_vl"), zoo.build("falcon_ocr")
    with pytest.raises(ValueError, match="FalconOCRProcessor has no image_processor; pass the processor"):
        attach(tiny.model, other.processor, VisionFeatureCache())


# An image processor that makes another one when it is first asked: GLM-OCR, where torch is installed ----


@pytest.fixture
def delegates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have GLM-OCR's image processor ask the one that it makes, as it does where torch is installed."""

    def make(processor: Any) -> Any:
        if processor._transformers_image_processor is None:
            own = {n: value for n, value in vars(processor).items() if not n.startswith("_")}
            own["use_transformers_backend"] = False
            processor._transformers_image_processor = Glm46VImageProcessor(**own)
        return processor._transformers_image_processor

    def ask(processor: Any, images: Any) -> Any:
        return make(processor)(images) if processor.use_transformers_backend else None

    monkeypatch.setattr(Glm46VImageProcessor, "_get_transformers_image_processor", make)
    monkeypatch.setattr(Glm46VImageProcessor, "_process_with_transformers_backend", ask)


@pytest.mark.usefixtures("delegates")
def test_what_a_processor_makes_for_itself_is_no_other_setting() -> None:
    tiny, cache = zoo.build("glm_ocr"), VisionFeatureCache()
    assert [asked(tiny, cache, A) for _ in range(2)] == [(0, 1), (1, 0)]


@pytest.mark.usefixtures("delegates")
@pytest.mark.parametrize("at_first", [False, True])
def test_it_is_made_with_the_first_image_and_the_settings_of_then(at_first: bool) -> None:
    twin, ours = zoo.build("glm_ocr"), zoo.build("glm_ocr")

    def features(tiny: zoo.Tiny, image: Any) -> Any:
        return embedded(tiny, prepared(tiny, [image]))

    with attach(ours.model, ours.processor, VisionFeatureCache()):
        assert ours.processor.image_processor._transformers_image_processor is None
        if at_first:
            assert same(features(ours, A), features(twin, A))
        for tiny in (ours, twin):
            tiny.processor.image_processor.image_std = [0.5, 0.5, 0.5]
        for image in (A, B, A):
            assert same(features(ours, image), features(twin, image))


def test_a_number_of_numpy_is_another_setting() -> None:  # with which float32 becomes float64
    tiny, cache = zoo.build("qwen2_5_vl"), VisionFeatureCache()
    assert asked(tiny, cache, A) == (0, 1)
    tiny.processor.image_processor.rescale_factor = np.float64(1 / 255)
    assert asked(tiny, cache, A) == (0, 1)


def test_another_class_with_the_same_settings_makes_other_pixels(tiny: zoo.Tiny) -> None:
    cache = VisionFeatureCache()
    assert asked(tiny, cache, A) == (0, 1)
    images = tiny.processor.image_processor
    images.__class__ = type("Other", (type(images),), {})
    assert asked(tiny, cache, A) == (0, 1)
