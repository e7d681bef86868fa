"""Tell whether arrays take part in a function transformation, inside of which nothing may be looked up."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import mlx.core as mx

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_thread = threading.local()
_switching = threading.Lock()
"""Held while an array is noted, so that no other thread finds compilation switched on for a moment."""


@mx.compile
def _noted(number: mx.array) -> mx.array:
    # MLX runs Python again for an array that `grad`, `vjp`, `jvp`, `vmap` or `compile` follows; for any
    # other of a shape and dtype that it knows it runs what it compiled.
    _thread.ran = True
    return number


def is_traced(arrays: Iterable[Any]) -> bool:
    """Tell whether a transformation (`grad`, `value_and_grad`, `vjp`, `jvp`, `vmap`, `compile`) follows any.

    If MLX's compilation is switched off (`mx.disable_compile`), it is on while this is found out.
    """
    ours = [array for array in arrays if isinstance(array, mx.array) and array.size]
    if not ours:
        return False
    number = mx.stack([array.reshape(-1)[0].astype(mx.float32) for array in ours]).sum()
    if not _runs_python(number):
        return False
    with _switching:  # for the first time in this thread, with compilation switched off, or followed
        if _compiles():
            return _runs_python(number)
        if _compiles_elsewhere():
            return True  # as inside of `checkpoint`, which follows constants too
        with _compiling():
            _noted(mx.array(0.0))
            return _runs_python(number)


def _compiles() -> bool:
    """Tell whether MLX runs what it compiled for a constant; inside of `checkpoint` it does not."""
    _noted(mx.array(0.0))  # compiled once a thread
    return not _runs_python(mx.array(0.0))


def _compiles_elsewhere() -> bool:
    """Tell the same of another thread, in which no transformation runs: whether compilation is on."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(_compiles).result()


def _runs_python(number: mx.array) -> bool:
    """Tell whether MLX runs Python for a number, as it does for the first, and for any that is followed."""
    _thread.ran = False
    _noted(number)
    return bool(_thread.ran)


@contextmanager
def _compiling() -> Iterator[None]:
    mx.enable_compile()
    try:
        yield
    finally:
        mx.disable_compile()
