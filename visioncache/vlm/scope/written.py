"""Written: notice arrays that are written into (`weight += 1`), which stay the same objects."""

from __future__ import annotations

import ctypes
from copy import copy
from typing import TYPE_CHECKING, Any

import mlx.core as mx

from visioncache.memory import on_gpu

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def in_memory_of_its_own() -> bool:
    """Tell whether arrays lie where only the GPU reads: looking at them from here would move them."""
    return mx.cuda.is_available() and on_gpu()


def twin(array: Any) -> Any:
    """Give a second array of the same data; while it lives, MLX writes into the first somewhere else."""
    return copy(array) if isinstance(array, mx.array) else array


def is_written(array: Any, its_twin: Any) -> bool:
    """Tell whether an array was written into since it had this twin."""
    return array is not its_twin and not unwritten([(array, its_twin)])()


def unwritten(pairs: Iterable[tuple[Any, Any]]) -> Callable[[], bool]:
    """Give the check that of arrays with twins none was written into, over all at once.

    It takes half a microsecond an array. On CUDA it sees nothing: see `in_memory_of_its_own`.
    """
    rows: list[tuple[Any, Any]] = []
    strided: list[tuple[Any, Any]] = []
    for array, its_twin in pairs:
        if array is its_twin or not its_twin.size or in_memory_of_its_own():
            continue
        try:
            ctypes.c_char.from_buffer(its_twin)
        except TypeError:  # a transposed weight, for instance
            strided.append((array, its_twin))
        else:
            rows.append((array, its_twin))
    arrays, others = [array for array, _ in rows], [array for array, _ in strided]
    places, begins = _places(twin for _, twin in rows), _begins([twin for _, twin in strided])

    def check() -> bool:
        try:
            return _places(arrays) == places and _begins(others) == begins
        except (TypeError, ValueError, RuntimeError):  # of another layout now, or part of a transformation
            return False

    return check


def _places(arrays: Iterable[Any]) -> list[int]:
    return [*map(ctypes.addressof, map(ctypes.c_char.from_buffer, arrays))]


class _Buffer(ctypes.Structure):
    """Python's `Py_buffer`."""

    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.py_object),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    )


_STRIDED = 0x18
"""`PyBUF_STRIDES`: any layout will do."""


# Prototypes of our own, as those of `ctypes.pythonapi` are everybody's.
_get_buffer = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_void_p, ctypes.c_int)(
    ("PyObject_GetBuffer", ctypes.pythonapi)
)
_release = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(("PyBuffer_Release", ctypes.pythonapi))


def _begins(arrays: list[Any]) -> list[int | None]:
    """Where arrays of any layout begin."""
    view = _Buffer()
    at = ctypes.addressof(view)
    found = []
    for array in arrays:
        _get_buffer(array, at, _STRIDED)
        found.append(view.buf)
        _release(at)
    return found
