"""Stand-ins: what pixels look like to code that never reads them."""

from __future__ import annotations

import math
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
"""Of a digest, four bits each: no NaN of these has room for fewer."""


def stand_in(shape: Sequence[int], dtype: str, digest: str) -> mx.array:
    """An array of a shape and dtype that takes no memory: the few numbers in it are broadcast.

    Floats are NaNs whose payload spells the image's digest: whoever hashes them (mlx-vlm's prompt
    caches do) tells images apart, and whoever computes with them gets NaN, never a wrong answer.
    """
    spelled = np.array([int(digit, 16) for digit in digest], np.uint8)
    width, bits = _QUIET_NAN.get(dtype, (None, 0))
    kind = getattr(mx, "bool_" if dtype == "bool" else dtype)
    if width is not None:
        pattern = mx.array(spelled.astype(width) | width(bits)).view(kind)
    else:
        pattern = mx.array(spelled).astype(kind)
        if mx.issubdtype(kind, mx.floating):
            pattern = pattern * mx.nan
    # The fewest trailing axes that hold the whole digest carry it; the others are broadcast.
    tail = next((i for i in range(len(shape) - 1, -1, -1) if math.prod(shape[i:]) >= _DIGITS), 0)
    cell = math.prod(shape[tail:])
    spread = mx.tile(pattern, -(-cell // pattern.size))[:cell].reshape(*shape[tail:])
    whole = mx.broadcast_to(spread, tuple(shape))
    mx.eval(whole)  # of memory, as much as the digest; left lazy, no other thread could evaluate it
    return whole


def is_stand_in(array: Any) -> bool:
    """Whether an array is what became of a stand-in: NaN is in it, which no processor makes of pixels."""
    if isinstance(array, np.ndarray):
        return array.dtype.kind == "f" and bool(np.isnan(array).any())
    if not isinstance(array, mx.array) or not mx.issubdtype(array.dtype, mx.floating):
        return False
    return bool(mx.isnan(array).any().item())
