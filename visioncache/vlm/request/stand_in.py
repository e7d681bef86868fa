"""Stand-ins: arrays of the shape of pixels, which take no memory and spell which images they stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

_QUIET_NAN = {
    "float32": (np.uint32, 0x7FC00000),
    "float16": (np.uint16, 0x7E00),
    "bfloat16": (np.uint16, 0x7FC0),
}
_DIGITS = 32
"""Of a digest, four bits each: every NaN of these has room for them."""


def stand_in(shape: Sequence[int], dtype: str, digest: str, *, as_numpy: bool = False) -> Any:
    """Make an array of a shape and dtype that holds as many numbers as its longest axes, and no more.

    Floats are NaNs that spell the digest, each along every axis at another place. An array of MLX's is lazy:
    evaluate it before another thread sees it.
    """
    spelled = np.array([int(digit, 16) for digit in digest], np.uint8)
    # The fewest trailing axes that hold the digest lie as always; along the others each step is one number.
    strides, cell = [], 1
    for length in reversed(shape):
        strides.append(cell if cell < _DIGITS else 1)
        cell *= length
    strides.reverse()
    size = 1 + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True) if length)
    spread = np.tile(spelled, -(-max(size, 1) // _DIGITS))
    width, bits = _QUIET_NAN.get("float32" if dtype == "float64" else dtype, (None, 0))
    if width is not None:
        spread = spread.astype(width) | width(bits)
    if as_numpy:
        numbers = spread.view("float32" if dtype == "float64" else dtype) if width is not None else spread
        numbers = numbers.astype(dtype, copy=False)
        steps = [stride * numbers.itemsize for stride in strides]
        spelling = np.ndarray(tuple(shape), numbers.dtype, numbers, strides=steps)
        spelling.flags.writeable = False
        return spelling
    # Of doubles mlx makes floats, and no GPU of its knows any.
    kind = getattr(mx, {"bool": "bool_", "float64": "float32"}.get(dtype, dtype))
    flat = mx.array(spread).view(kind) if width is not None else mx.array(spread).astype(kind)
    return mx.as_strided(flat, tuple(shape), strides)


def is_stand_in(array: Any) -> bool:
    """Tell whether NaN is in an array, which no processor makes of pixels: a ticket, or made from one."""
    if isinstance(array, np.ndarray):
        return array.dtype.kind == "f" and bool(np.isnan(array).any())
    if not isinstance(array, mx.array) or not mx.issubdtype(array.dtype, mx.floating):
        return False
    return bool(mx.isnan(array).any().item())
