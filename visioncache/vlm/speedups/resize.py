"""Resize: Pillow's own bicubic resizing, bit for bit, where mlx computes.

Pillow resizes bytes with integers: each output is a sum of a few inputs times weights of 22 bits, rounded,
along one axis and then along the other. The weights are read off Pillow itself, which is given impulses to
resize; and sums of integers are the same everywhere.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import permutations

import mlx.core as mx
import numpy as np
from PIL import Image

from visioncache.recent import Recent
from visioncache.vlm.patching.functions import is_from

_BITS = 22
"""Bits of a weight behind the point."""
_SUMS = 1 << 20
"""Sums that are computed at once; each takes some 100 bytes meanwhile."""
_REACH = 2
"""Input pixels that a bicubic output looks at, to each side, where it is not made smaller."""


_orders: Recent[tuple[int, int, int, int], tuple[int, ...]] = Recent(256)
"""Which axis Pillow resizes first, by the sizes before and after; versions of it decide differently."""


def resized(image: Image.Image, size: tuple[int, int]) -> mx.array:
    """Return `image.resize(size, BICUBIC)` of an RGB image, as bytes `[height, width, 3]`.

    The first picture of each size is resized by Pillow, which shows the order of the axes.

    Args:
        image: in mode RGB.
        size: width and height, in pixels.
    """
    if not _is_pillows(image):
        return mx.array(np.asarray(image.resize(size, Image.Resampling.BICUBIC)))
    pixels = mx.array(np.asarray(image))
    order = _orders.get((*image.size, *size))
    if order is not None:
        return _in_order(pixels, size, order)
    theirs = mx.array(np.asarray(image.resize(size, Image.Resampling.BICUBIC)))
    changed = [axis for axis in (1, 0) if pixels.shape[axis] != theirs.shape[axis]]
    fitting = [
        order
        for order in permutations(changed)
        if mx.array_equal(_in_order(pixels, size, order), theirs).item()
    ]
    if len(fitting) == 1:
        _orders[(*image.size, *size)] = fitting[0]
    return theirs


def _is_pillows(image: Image.Image) -> bool:
    """Tell whether an image would be resized by Pillow's own method, and not by a user's in its place."""
    method = getattr(image.resize, "__func__", None)
    return method is Image.Image.resize and is_from(Image, "resize", method)


def _in_order(pixels: mx.array, size: tuple[int, int], order: tuple[int, ...]) -> mx.array:
    for axis in order:
        pixels = _along(pixels, axis, *_weights(pixels.shape[axis], size[1 - axis]))
    return pixels


def _along(pixels: mx.array, axis: int, places: mx.array, weights: mx.array) -> mx.array:
    """Resize one axis, strip by strip: sums take a hundred times the memory of the bytes that they become."""
    across = 1 - axis
    wide = max(1, _SUMS // (3 * places.shape[1]))
    strips = mx.split(pixels, range(wide, pixels.shape[across], wide), axis=across)
    done = []
    for strip in strips:
        done.append(_weighed(strip, axis, places, weights))
        mx.eval(done[-1])
    return mx.concatenate(done, axis=across)


def _weighed(pixels: mx.array, axis: int, places: mx.array, weights: mx.array) -> mx.array:
    """Give each output the inputs at `places [inputs, outputs]` times `weights`."""
    shape = (-1, 1, 1) if axis == 0 else (-1, 1)
    total = mx.array(1 << (_BITS - 1), mx.int32)
    for place, weight in zip(places, weights, strict=True):
        total = total + mx.take(pixels, place, axis=axis).astype(mx.int32) * weight.reshape(shape)
    return mx.clip(total >> _BITS, 0, 255).astype(mx.uint8)


@lru_cache(maxsize=64)
def _weights(old: int, new: int) -> tuple[mx.array, mx.array]:
    """Return which inputs make each output of an axis, and with which weights: `[inputs, outputs]` each.

    Row `r` of the image that Pillow is given has an impulse in every `apart`-th column from `r` on, and no
    output sees two of them: what it becomes is the weight of the one that it sees.
    """
    apart = 2 * int(np.ceil(_REACH * max(old / new, 1.0))) + 2
    impulses = np.zeros((apart, old), np.int32)
    columns = np.arange(old)
    impulses[columns % apart, columns] = 1 << _BITS
    seen = np.asarray(Image.fromarray(impulses).resize((new, apart), Image.Resampling.BICUBIC))
    middle = ((np.arange(new) + 0.5) * (old / new)).astype(np.int64)
    first = middle - apart // 2
    rows = np.arange(apart)[:, None]
    places = first + (rows - first) % apart  # the column of row `r` that lies near an output
    inside = (places >= 0) & (places < old)
    weights = np.where(inside, seen, 0)
    found = mx.array(np.where(inside, places, 0), mx.uint32), mx.array(weights, mx.int32)
    mx.eval(found)
    return found
