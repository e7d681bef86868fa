"""A processor was handed it: from then on it is identified, and nobody else's to write into."""

from __future__ import annotations

import threading
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import zoo
from PIL import Image

from visioncache import Key
from visioncache.vlm.request.image import SourceImage, hold, key_of, open_source, take
from visioncache.vlm.request.source import thumbnail

A, B, _ = zoo.photos()


class Tensor:
    """Show to numpy what torch.Tensor shows."""

    def __init__(self, array: Any) -> None:
        self.array, self.shape, self.dtype, self.ndim = array, array.shape, f"torch.{array.dtype}", array.ndim

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.array if dtype is None else self.array.astype(dtype)


class Stuck(Tensor):
    """One that can't be copied, because it holds a lock."""

    def __init__(self, array: Any) -> None:
        super().__init__(array)
        self.lock = threading.Lock()


class Shared(Tensor):
    """One whose copies share its memory."""

    def __deepcopy__(self, memo: Any) -> Any:
        return Shared(self.array)


@pytest.mark.parametrize("kind", [np.asarray, Tensor, mx.array, lambda array: array[::-1, ::2], np.matrix])
def test_an_array_is_taken_as_it_is_and_written_into_by_nobody(kind: Any) -> None:
    numbers = np.arange(48, dtype=np.uint8).reshape(6, 8)
    given = kind(numbers)
    taken = take(given, transpose=False)
    key = Key.of(given)
    assert (type(taken), Key.of(taken)) == (type(given), key)
    numbers[:] = 0
    if not isinstance(given, Tensor):
        given[:] = 0
    assert Key.of(taken) == key


def test_a_file_that_its_writer_has_mapped_is_copied(tmp_path: Any) -> None:
    mapped = np.memmap(tmp_path / "frame", np.uint8, "w+", shape=(4, 4, 3))
    key = Key.of(mapped)
    taken = take(np.memmap(tmp_path / "frame", np.uint8, "r", shape=(4, 4, 3)), transpose=False)
    mapped[:] = 9
    assert Key.of(taken) == key != Key.of(mapped)


@pytest.mark.parametrize(
    "image",
    [
        3,
        None,
        np.float32(2),
        {},
        np.ma.masked_array(np.zeros(3)),
        np.array([{}]),
        Stuck(np.zeros(3)),
        Shared(np.zeros(3)),
    ],
)
def test_what_has_no_identity_or_can_not_be_held_is_not_taken(image: Any) -> None:
    assert take(image, transpose=False) is None


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "I;16", "1"])
def test_a_picture_keeps_its_mode_and_nobody_draws_on_it(mode: str, tmp_path: Any) -> None:
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(A.convert("L")).astype(np.uint16) * 99)
    else:
        picture = A.convert(mode)
    expected = picture.tobytes(), picture.convert("RGB").tobytes()
    picture.save(tmp_path / "a.png")
    opened = take(Image.open(tmp_path / "a.png"), transpose=False)
    for taken in (opened, take(picture, transpose=False)):
        assert isinstance(taken, SourceImage)
        assert (taken.mode, taken.size, taken.decoded) == (mode, picture.size, False)
        assert (taken.tobytes(), taken.convert("RGB").tobytes()) == expected


@pytest.mark.slow
def test_a_frame_that_is_written_while_it_is_read_is_one_state_or_another() -> None:
    states = [np.full((720, 1280, 3), value, np.uint8) for value in (0, 255)]
    frame = states[0].copy()
    stop = threading.Event()

    def camera() -> None:
        while not stop.is_set():
            for state in states:
                frame[:] = state

    writer = threading.Thread(target=camera)
    writer.start()
    try:
        for _ in range(40):
            taken = take(frame, transpose=False)
            key = Key.of(taken)
            held = hold(Image.fromarray(frame))
            assert Key.of(taken) == key
            assert held.key == Key.from_image(held)
    finally:
        stop.set()
        writer.join()


def test_what_is_held_stays_what_it_was() -> None:
    picture, frame = A.copy(), np.asarray(A).copy()
    images = [picture, frame, [picture, frame], [1, 2]]
    held = hold(images)
    before = [key_of(image) for image in held]
    picture.paste(B.resize(A.size))
    frame[:] = 0
    assert [key_of(image) for image in held] == before
    assert (before[3], None in before[:3]) == (None, False)
    assert held[0].tobytes() == A.tobytes()
    assert [key_of(image) for image in hold(images)][:3] != before[:3]


@pytest.mark.parametrize(
    "mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "YCbCr", "HSV", "I", "F", "I;16"]
)
def test_there_is_a_thumbnail_of_every_mode(mode: str) -> None:
    numbers = np.linspace(0, 60_000, 400 * 300).reshape(300, 400)
    if mode in {"I", "F", "I;16"}:
        picture = Image.fromarray(numbers.astype({"I": np.int32, "F": np.float32, "I;16": np.uint16}[mode]))
    else:
        picture = A.resize((400, 300)).convert(mode)
    small = thumbnail(picture, 96)
    assert small is not None
    assert small.size == (96, 72)
    if mode in {"I", "F", "I;16"}:
        assert np.ptp(np.asarray(small)) > 200  # dark to light, not white


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA"])
@pytest.mark.parametrize("suffix", ["png", "ico"])
def test_a_picture_in_its_own_mode_is_another_one_than_its_rgb(mode: str, suffix: str, tmp_path: Any) -> None:
    A.convert(mode).save(tmp_path / f"a.{suffix}")

    def shown() -> Image.Image:
        image = Image.open(tmp_path / f"a.{suffix}")
        image.load()
        return image

    for give in (lambda: Image.open(tmp_path / f"a.{suffix}"), shown, lambda: shown().copy()):
        as_it_is, as_rgb = take(give(), transpose=False), open_source(give(), transpose=False)
        assert as_it_is.key == as_rgb.key
        assert (as_it_is.variant == as_rgb.variant) == (give().mode == "RGB")
