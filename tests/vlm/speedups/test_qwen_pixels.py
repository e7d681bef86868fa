"""The shorter way through mlx-vlm's own image processor: the same bits, or not taken."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import zoo
from harness import but_for_pixels, embedded, prepared, same
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlx_vlm.models.qwen3_vl import processing_qwen3_vl
from mlx_vlm.models.qwen3_vl.processing_qwen3_vl import Qwen3VLImageProcessor
from PIL import Image

from visioncache import VisionFeatureCache
from visioncache.vlm import attach
from visioncache.vlm.fingerprint import Settings
from visioncache.vlm.speedups import qwen_pixels
from visioncache.vlm.speedups.qwen_pixels import QwenPixels

CLIP = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
A, B, C = zoo.photos()


class Counted:
    """An image processor's call, and how often it was asked."""

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        self.calls = 0

    def __call__(self, images: Any, **kwargs: Any) -> Any:
        self.calls += 1
        return self.processor(images, **kwargs)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


class Shorter:
    """The shorter way through an image processor, and how often that was asked."""

    def __init__(self, processor: Any) -> None:
        found = QwenPixels.of(processor)
        assert found is not None
        self.patches, self.counted = found, Counted(processor)
        self.settings = Settings(None, lambda: processor)

    def __call__(self, image: Any, **kwargs: Any) -> Any:
        return self.patches.process(self.counted, self.settings.digest, [image], **kwargs)


def both(processor: Any, image: Image.Image, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any], int]:
    """Process a picture by the processor and by the shorter way, once that was compared; count what it asked."""
    shorter = Shorter(processor)
    shorter(image, **kwargs)
    before = shorter.counted.calls
    ours = shorter(image, **kwargs)
    return processor([image], **kwargs), ours, shorter.counted.calls - before


@pytest.fixture(params=[True, False], ids=["mlx", "numpy"])
def where(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the pixels as where mlx computes on a GPU, and as on a CPU; a CPU computes the same as a GPU."""
    monkeypatch.setattr(qwen_pixels, "on_gpu", lambda: request.param)


@pytest.mark.usefixtures("where")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    width=st.integers(20, 260),
    height=st.integers(20, 260),
    patch=st.sampled_from([14, 16]),
    merge=st.integers(1, 2),
    frames=st.integers(1, 2),
    looks=st.sampled_from(
        [{}, CLIP, {"do_normalize": False}, {"do_rescale": False}, {"rescale_factor": 1 / 3}]
    ),
    most=st.sampled_from([40, 100, 1000]),
    seed=st.integers(0, 2**16),
)
def test_bits_are_those_of_the_processor(
    width: int, height: int, patch: int, merge: int, frames: int, looks: dict[str, Any], most: int, seed: int
) -> None:
    processor = Qwen3VLImageProcessor(
        patch_size=patch, merge_size=merge, temporal_patch_size=frames,
        min_pixels=16 * patch**2, max_pixels=most * patch**2, **looks,
    )  # fmt: skip
    theirs, ours, calls = both(processor, noise(width, height, seed))
    assert calls == 0
    assert ours.keys() == theirs.keys()
    assert np.array_equal(np.array(ours["pixel_values"]), theirs["pixel_values"])
    assert np.array(ours["pixel_values"]).dtype == theirs["pixel_values"].dtype
    assert same(ours["image_grid_thw"], theirs["image_grid_thw"])


@pytest.mark.parametrize(
    "limits", [{"max_pixels": 20_000}, {"min_pixels": 90_000}, {"resized_height": 60, "resized_width": 90}]
)
def test_limits_of_a_call_are_minded(limits: dict[str, int]) -> None:
    theirs, ours, _ = both(Qwen3VLImageProcessor(patch_size=14), noise(200, 170), **limits)
    assert np.array_equal(np.array(ours["pixel_values"]), theirs["pixel_values"])


@pytest.mark.parametrize("patch", [4, 6, 7])
def test_a_picture_too_small_for_every_value_is_left_to_the_processor(patch: int) -> None:
    processor = Qwen3VLImageProcessor(patch_size=patch, merge_size=1, min_pixels=0)
    theirs, ours, calls = both(processor, noise(200, 170))
    assert same(ours, theirs)
    assert calls == 1


def test_what_a_call_says_beside_its_limits_is_the_processors_business() -> None:
    theirs, ours, calls = both(Qwen3VLImageProcessor(patch_size=14), noise(60, 60), do_rescale=False)
    assert same(ours, theirs)
    assert calls == 1


def test_a_table_is_filled_once_for_the_same_settings_and_compared_for_the_largest_picture() -> None:
    processor = Qwen3VLImageProcessor(patch_size=14, image_mean=[0.11, 0.22, 0.33])  # as in no other test
    shorter = Shorter(processor)
    asked = []
    for seed, side in enumerate((60, 60, 50, 90, 60, 90)):
        shorter(noise(side, 60, seed), max_pixels=3136 * (seed + 1))
        asked.append(shorter.counted.calls)
    assert asked == [3, 3, 3, 4, 4, 4]  # two of them were made up
    again = Shorter(processor)  # a model that is attached again
    again(noise(90, 60))
    assert again.counted.calls == 2  # the table's two


def test_a_version_that_differs_for_large_pictures_alone_is_found_by_the_first_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = Qwen3VLImageProcessor._process_one

    def _process_one(self: Any, image: Any, **kwargs: Any) -> Any:
        return made(self, np.minimum(image, 128) if image[0].size > 20_000 else image, **kwargs)

    _process_one.__code__ = _process_one.__code__.replace(co_filename=processing_qwen3_vl.__file__)
    monkeypatch.setattr(Qwen3VLImageProcessor, "_process_one", _process_one)
    processor = Qwen3VLImageProcessor(patch_size=14)
    shorter = Shorter(processor)
    for image in (noise(60, 60), noise(300, 200), noise(300, 200), noise(60, 60)):
        assert same(shorter(image), processor([image]))


@pytest.mark.parametrize("name", ["image_mean", "rescale_factor", "_process_one"])
def test_a_table_is_filled_anew_for_what_was_changed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    processor = Qwen3VLImageProcessor(patch_size=14)
    changed = {
        "image_mean": CLIP["image_mean"],
        "rescale_factor": np.float64(1 / 255),  # of float32 it makes float64
        "_process_one": doubles.__get__(processor),
    }
    shorter = Shorter(processor)
    shorter(noise(60, 60))
    monkeypatch.setattr(processor, name, changed[name])
    ours = shorter(noise(60, 60))
    assert shorter.counted.calls > 2
    assert same(np.array(ours["pixel_values"]), processor([noise(60, 60)])["pixel_values"])


def sharpened(processor: Any, image: Any, **kwargs: Any) -> Any:
    pixels, grid = Qwen3VLImageProcessor._process_one(processor, image, **kwargs)
    return pixels + np.gradient(pixels, axis=1), grid


def doubles(processor: Any, image: Any, **kwargs: Any) -> Any:
    pixels, grid = Qwen3VLImageProcessor._process_one(processor, image, **kwargs)
    return pixels.astype(np.float64), grid


def resized_otherwise(processor: Any, image: Any, **kwargs: Any) -> Any:
    height, width = processor._resolved_size(*image.shape[1:], **kwargs)
    other = Image.fromarray(image.transpose(1, 2, 0)).resize((width, height), Image.Resampling.BILINEAR)
    return Qwen3VLImageProcessor._process_one(processor, np.asarray(other).transpose(2, 0, 1), **kwargs)


@pytest.mark.parametrize("one", [sharpened, doubles, resized_otherwise])
def test_a_processor_that_was_changed_is_asked_itself(one: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    processor = Qwen3VLImageProcessor(patch_size=14)
    monkeypatch.setattr(processor, "_process_one", one.__get__(processor), raising=False)
    theirs, ours, calls = both(processor, noise(70, 50))
    assert same(ours, theirs)
    assert calls == 1


def enlarged(original: Any) -> Any:
    """A function that is like another for all but large arrays and images."""

    def other(*args: Any, **kwargs: Any) -> Any:
        made = original(*args, **kwargs)
        if isinstance(made, np.ndarray):
            return np.roll(made, 1, -1) if made.size > 20_000 else made
        is_large = isinstance(made, Image.Image) and made.width * made.height > 20_000
        return made.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if is_large else made

    return other


@pytest.mark.usefixtures("where")
@pytest.mark.parametrize(
    ("owner", "name"),
    [
        *((processing_qwen3_vl, name) for name in ("_to_numpy_image", "_resize_video_frames")),
        *((np, name) for name in ("array", "concatenate", "repeat", "transpose")),
        *((Image.Image, name) for name in ("convert", "resize")),
        (Image, "fromarray"),
    ],
)
def test_a_function_that_differs_for_large_pictures_alone_is_called(
    owner: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The small pictures that the table is compared with would not show it."""
    processor, image = Qwen3VLImageProcessor(patch_size=14), noise(300, 200)
    plain = processor([image])
    monkeypatch.setattr(owner, name, enlarged(getattr(owner, name)))
    theirs, ours, _ = both(processor, image)
    assert same(ours, theirs)
    assert not same(ours, plain)


def test_a_class_derived_from_it_goes_its_own_way() -> None:
    class Derived(Qwen3VLImageProcessor):
        pass

    assert QwenPixels.of(Derived(patch_size=14)) is None


@pytest.mark.parametrize("image", [noise(60, 60).convert("L"), np.asarray(noise(60, 60)).transpose(2, 0, 1)])
def test_what_is_no_rgb_picture_is_the_processors(image: Any) -> None:
    theirs, ours, calls = both(Qwen3VLImageProcessor(patch_size=14), image)
    assert same(ours, theirs)
    assert calls == 1


@pytest.mark.usefixtures("where")
@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_the_model_is_given_the_same_pixels_attached_or_not(family: str) -> None:
    tiny = zoo.build(family)
    plain = prepared(tiny, [A, B, C])
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attachment:
        prepared(tiny, [A, B, C])  # each larger one is compared
        ours = prepared(tiny, [A, B, C])
        assert attachment.processor_side is not None
        assert attachment.processor_side._preprocessor._quick._filled[1] is not None
        assert same(embedded(tiny, ours), embedded(tiny, dict(plain)))
    assert same(but_for_pixels(ours, attachment), but_for_pixels(plain, attachment))


def test_a_table_outlives_a_pause_of_the_attachment() -> None:
    tiny = zoo.build("qwen2_5_vl")
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attached:
        assert attached.processor_side is not None
        prepared(tiny, [A])
        filled = attached.processor_side._preprocessor._quick
        with attached.suspended():
            prepared(tiny, [A])
        prepared(tiny, [B])
        assert attached.processor_side._preprocessor._quick is filled
