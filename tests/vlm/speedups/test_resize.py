"""Resizing where mlx computes: Pillow's own bytes, at every size."""

from __future__ import annotations

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
    asked: list[tuple[int, int]] = []
    own = Image.Image.resize

    def counted(self: Image.Image, size: tuple[int, int], *args: object, **kwargs: object) -> Image.Image:
        asked.append(self.size)
        return own(self, size, *args, **kwargs)  # type: ignore[arg-type]

    images = [picture((90, 60), seed) for seed in range(4)]
    resize._weights.cache_clear()
    monkeypatch.setattr(Image.Image, "resize", counted)
    for image in images:
        resized(image, (60, 90))
    assert asked.count((90, 60)) == 1


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
