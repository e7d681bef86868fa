"""Arrays as images: seen as without a cache, whatever class they are of and whoever writes into them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
import pytest
import zoo
from harness import embedded, prepared, same
from PIL import Image
from twins import Scene, assert_alike

from visioncache import VisionFeatureCache
from visioncache.vlm import attach

if TYPE_CHECKING:
    from pathlib import Path

A, B, _ = zoo.photos()
FAMILIES = ["aya_vision", "gemma3", "idefics3", "llava", "minicpmo", "phi3_v", "qwen2_5_vl"]
FIRST, SECOND = (np.asarray(image.resize((64, 48))).transpose(2, 0, 1).copy() for image in (A, B))


class Tensor:
    """Show to numpy what torch.Tensor shows."""

    def __init__(self, array: Any) -> None:
        self.array, self.shape, self.dtype, self.ndim = array, array.shape, f"torch.{array.dtype}", array.ndim

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.array if dtype is None else self.array.astype(dtype)


class Bare:
    """An array by `__array__` alone."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.array if dtype is None else self.array.astype(dtype)


class Interfaced:
    """An array by `__array_interface__`, and a shape."""

    def __init__(self, array: Any) -> None:
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        self.__array_interface__ = array.__array_interface__


class Capsuled:
    """An array by DLPack, and a shape."""

    def __init__(self, array: Any) -> None:
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


def answer(tiny: zoo.Tiny, images: list[Any], prompt: Any = None) -> Any:
    """Return what the language model is given, or that there was an error."""
    try:
        return embedded(tiny, prepared(tiny, images, prompt))
    except Exception:  # noqa: BLE001  # a family may take no such image, and say so as it likes
        return "an error"


@pytest.mark.parametrize("kind", [np.asarray, mx.array, Tensor, Bare, Interfaced, Capsuled])
@pytest.mark.parametrize("family", FAMILIES)
def test_an_array_of_any_class_is_seen_as_without_a_cache(family: str, kind: Any) -> None:
    tiny = zoo.build(family)
    plain = [answer(tiny, [kind(numbers)]) for numbers in (FIRST, SECOND)]
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attached:
        for _ in range(2):
            for numbers, expected in zip((FIRST, SECOND), plain, strict=True):
                assert same(answer(tiny, [kind(numbers)]), expected)
        if "an error" not in plain:
            assert attached.cache.info().hits == 2


@pytest.mark.parametrize("family", ["gemma3", "llava", "qwen2_5_vl", "aya_vision", "idefics3"])
@pytest.mark.parametrize("kind", [np.asarray, Tensor, Image.fromarray])
def test_a_frame_that_a_camera_writes_while_it_is_read_poisons_nothing(family: str, kind: Any) -> None:
    tiny = zoo.build(family)
    states = [np.asarray(image.convert("RGBA") if kind is Image.fromarray else image) for image in (A, B)]
    states = [state if kind is Image.fromarray else state.transpose(2, 0, 1) for state in states]
    states = [np.ascontiguousarray(np.resize(state, states[0].shape)) for state in states]
    plain = [answer(tiny, [kind(state)]) for state in states]
    if "an error" in plain:
        pytest.skip("this family takes no such frames")
    frame, stop = states[0].copy(), threading.Event()

    def camera() -> None:
        while not stop.is_set():
            for state in states:
                frame[:] = state

    with attach(tiny.model, tiny.processor, VisionFeatureCache(max_size=None)):
        writer = threading.Thread(target=camera)
        writer.start()
        try:
            for _ in range(20):
                answer(tiny, [kind(frame)])
        finally:
            stop.set()
            writer.join()
        for state, expected in zip(states, plain, strict=True):
            assert same(answer(tiny, [kind(state)]), expected)


def test_a_file_that_its_writer_has_mapped_is_seen_as_it_is(tmp_path: Path) -> None:
    tiny = zoo.build("qwen2_5_vl")
    plain = [embedded(tiny, prepared(tiny, [numbers])) for numbers in (FIRST, SECOND)]
    writer = np.memmap(tmp_path / "frame", np.uint8, "w+", shape=FIRST.shape)
    # As an array: mlx-vlm takes a memmap, which has a `mode`, for a picture.
    reader = np.asarray(np.memmap(tmp_path / "frame", np.uint8, "r", shape=FIRST.shape))
    with attach(tiny.model, tiny.processor, VisionFeatureCache()):
        for numbers, expected in zip((FIRST, SECOND, FIRST), (*plain, plain[0]), strict=True):
            writer[:] = numbers
            assert same(embedded(tiny, prepared(tiny, [reader])), expected)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("mode", ["I;16", "I", "F", "LA"])
def test_pictures_of_any_mode_in_nested_lists_are_seen_as_without_a_cache(family: str, mode: str) -> None:
    tiny = zoo.build(family)
    numbers = np.linspace(0, 60_000, 480 * 640).reshape(480, 640)
    dtypes = {"I;16": np.uint16, "I": np.int32, "F": np.float32}
    deep = Image.fromarray(numbers.astype(dtypes[mode])) if mode in dtypes else B.convert(mode)
    images, prompt = [[deep], [B]], [tiny.prompt(1)] * 2
    plain = answer(tiny, images, prompt)
    with attach(tiny.model, tiny.processor, VisionFeatureCache()):
        for _ in range(2):
            assert same(answer(tiny, images, prompt), plain)


@pytest.mark.parametrize("family", ["aya_vision", "gemma3", "idefics3", "llava", "qwen2_5_vl"])
@pytest.mark.parametrize("door", ["opened", "shown", "in memory"])
def test_a_picture_with_a_background_is_not_taken_for_its_rgb(family: str, door: str, tmp_path: Path) -> None:
    tiny = zoo.build(family)
    picture = A.convert("RGBA")
    picture.putalpha(Image.fromarray(np.tile(np.arange(A.width, dtype=np.uint8), (A.height, 1))))
    picture.save(tmp_path / "a.png")

    def give() -> Image.Image:
        image = Image.open(tmp_path / "a.png") if door != "in memory" else picture
        if door == "shown":
            image.load()
        return image

    def asked_both_ways() -> list[Any]:
        return [answer(tiny, [give()]), answer(tiny, [[give()]], [tiny.prompt(1)])]

    plain = asked_both_ways()
    with attach(tiny.model, tiny.processor, VisionFeatureCache()):
        for _ in range(2):
            assert all(map(same, asked_both_ways(), plain))


class Dimmed(np.ndarray):
    """Numbers that are divided by an attribute when they are cast."""

    by = 1

    def astype(self, *args: Any, **kwargs: Any) -> Any:
        return (np.asarray(self) // self.by).astype(*args, **kwargs)


@pytest.mark.parametrize("family", ["gemma3", "idefics3", "llava", "paligemma", "qwen2_5_vl"])
def test_an_array_of_a_users_class_is_what_it_gives_now(family: str) -> None:
    def play(scene: Scene) -> list[Any]:
        image = np.array(A).view(Dimmed)
        answers = [scene.ask(image)]
        image.by = 2
        return [*answers, scene.ask(image)]

    assert_alike(family, play)


@pytest.mark.parametrize("family", ["gemma3", "idefics3", "llava", "paligemma", "qwen2_5_vl"])
def test_images_of_unlike_numbers_that_nothing_casts_are_a_batch_as_without_a_cache(family: str) -> None:
    floats = np.asarray(A.resize((112, 84)), np.float32) / 255

    def play(scene: Scene) -> list[Any]:
        image_processor = scene.processor.image_processor
        image_processor.do_rescale = image_processor.do_normalize = False
        questions = [(floats, B), (B, floats), (B,), (floats, np.asarray(B)), (floats,)]
        return [scene.ask(*images) for images in questions]

    assert_alike(family, play)
