"""Resizing where mlx computes: Pillow's own bytes, at every size."""

from __future__ import annotations

from itertools import permutations

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from visioncache.vlm.speedups import resize
from visioncache.vlm.speedups.resize import resized

SIDES = st.integers(1, 160)


def picture(size: tuple[int, int], seed: int = 0, *, extremes: bool = False) -> Image.Image:
    """Noise of all values, or of black and white, which rings most."""
    rng = np.random.default_rng([seed, *size])
    values = rng.integers(0, 2 if extremes else 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(values * 255 if extremes else values)


def is_pillows(image: Image.Image, size: tuple[int, int]) -> bool:
    theirs = np.asarray(image.resize(size, Image.Resampling.BICUBIC))
    return bool(np.array_equal(theirs, np.array(resized(image, size))))


@settings(max_examples=150, deadline=None)
@given(SIDES, SIDES, SIDES, SIDES, st.booleans())
def test_every_size_is_pillows(
    width: int, height: int, to_width: int, to_height: int, extremes: bool
) -> None:
    size = to_width, to_height
    for seed in range(2):  # the first shows the order of the axes
        assert is_pillows(picture((width, height), seed, extremes=extremes), size)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((1280, 960), (1288, 952)),
        ((1000, 777), (1008, 784)),
        ((640, 480), (320, 100)),
        ((97, 301), (500, 29)),
    ],
)
def test_sizes_of_photographs(old: tuple[int, int], new: tuple[int, int]) -> None:
    resize._orders.clear()
    assert all(is_pillows(picture(old, seed), new) for seed in range(2))
    assert (*old, *new) in resize._orders


def test_pillow_is_asked_once_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    resize._orders.clear()
    learned: list[list[int]] = []

    def orders(axes: list[int]) -> list[tuple[int, ...]]:
        learned.append(axes)
        return list(permutations(axes))

    monkeypatch.setattr(resize, "permutations", orders)
    assert all(is_pillows(picture((90, 60), seed), (60, 90)) for seed in range(4))
    assert learned == [[1, 0]]


class Cropping(Image.Image):
    """An image of a user's own class, which resizes in its own way."""

    def resize(self, size: tuple[int, int], *_: object, **__: object) -> Image.Image:  # type: ignore[override]
        return self.crop((0, 0, *size))


def test_a_users_own_way_of_resizing_is_asked_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(2):  # the order of these sizes is known from here on
        resized(picture((90, 60), seed), (60, 40))
    for seed in range(2):
        plain = picture((90, 60), seed)
        own = Cropping()
        own.im, own._size, own._mode = plain.im, plain.size, plain.mode
        assert np.array_equal(np.asarray(plain)[:40, :60], np.array(resized(own, (60, 40))))
        monkeypatch.setattr(Image.Image, "resize", Cropping.resize)
        assert np.array_equal(np.asarray(plain)[:40, :60], np.array(resized(plain, (60, 40))))
        monkeypatch.undo()


def test_strips_bound_what_resizing_takes() -> None:
    for seed in range(2):
        resized(picture((3000, 2000), seed), (2900, 1900))
    mx.reset_peak_memory()
    before = mx.get_active_memory()
    small = resized(picture((3000, 2000), 2), (2900, 1900))
    mx.eval(small)
    # Of the bytes; all sums at once would take sixty times as much.
    assert mx.get_peak_memory() - before < 7 * 3000 * 2000 * 3


def test_a_picture_that_shows_no_order_is_not_learned_from() -> None:
    resize._orders.clear()
    grey = Image.new("RGB", (90, 60), (128, 128, 128))
    assert is_pillows(grey, (100, 50))
    assert len(resize._orders) == 0


def test_other_bytes_than_pillows_are_never_given(monkeypatch: pytest.MonkeyPatch) -> None:
    resize._orders.clear()
    monkeypatch.setattr(resize, "_along", lambda pixels, *_: mx.zeros_like(pixels))
    assert all(is_pillows(picture((90, 60), seed), (100, 50)) for seed in range(2))
    assert len(resize._orders) == 0
