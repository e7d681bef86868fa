"""Tell whether arrays take part in a function transformation, inside of which nothing may be looked up."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import mlx.core as mx

if TYPE_CHECKING:
    from collections.abc import Iterable

_thread = threading.local()


@mx.compile
def _noted(number: mx.array) -> mx.array:
    # MLX runs Python again for an array that `grad`, `vjp`, `jvp`, `vmap` or `compile` follows; for any
    # other of a shape and dtype that it knows it runs what it compiled.
    _thread.ran = True
    return number


def is_traced(arrays: Iterable[Any]) -> bool:
    """Tell whether a transformation (`grad`, `value_and_grad`, `vjp`, `jvp`, `vmap`, `compile`) follows any.

    With MLX's compilation switched off nothing tells, and every array counts as followed.
    """
    ours = [array for array in arrays if isinstance(array, mx.array) and array.size]
    if not ours:
        return False
    number = mx.stack([array.reshape(-1)[0].astype(mx.float32) for array in ours]).sum()
    _noted(mx.array(0.0))  # compiled once a thread
    _thread.ran = False
    _noted(number)
    return bool(_thread.ran)
