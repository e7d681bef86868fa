"""Anatomy: what modules and settings consist of, described for a digest, and whether they still do."""

from __future__ import annotations

import functools
import json
from enum import Enum
from operator import is_
from types import ModuleType
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from blake3 import blake3
from mlx import nn

from visioncache.keys import Key
from visioncache.memory import on_gpu
from visioncache.vlm.patching.instances import class_of

if TYPE_CHECKING:
    from collections.abc import Iterator

PIECE = 64 * 2**20
"""Bytes of an array that are hashed at a time."""

_SAY_ALL = (mx.Dtype, np.dtype, Enum, type, ModuleType, range, slice, bytes)
"""Types whose `repr` says all that there is to them."""


class Anatomy:
    """Modules, settings and arrays as they were when they were added.

    What begins with an underscore is a module's state, as in MLX's own `parameters()`: it is left out.
    """

    def __init__(self, before: Anatomy | None = None) -> None:
        self._watched: list[_Watched] = []
        self._met: dict[int, tuple[int, Any]] = {}
        # Of arrays that were hashed before, with the arrays, so that no id comes twice.
        self._known: dict[int, tuple[Any, str]] = {} if before is None else before._contents  # noqa: SLF001
        self._contents: dict[int, tuple[Any, str]] = {}
        self._hasher = blake3()

    @property
    def digest(self) -> str:
        """128 bits over all that was added."""
        return self._hasher.hexdigest(length=16)

    def changed(self) -> bool:
        """Whether any attribute or item of what was added is another object now.

        An array that is written into (`weight[0] = 1`) stays the same object, and is not noticed.
        """
        return not all(watched.holds() for watched in self._watched)

    def add(self, name: str, value: Any) -> None:
        """Describe something under a name, and watch it."""
        self._hasher.update(json.dumps([name, self._described(value)]).encode())

    def watch(self, container: Any) -> Any:
        """What a dict, list or set holds now, in a copy; it is watched, without being described."""
        watched = _Watched(container)
        self._watched.append(watched)
        return watched.copy()

    def has(self, value: Any) -> bool:
        """Whether an object was described."""
        return id(value) in self._met

    def _described(self, value: Any) -> Any:
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, (mx.array, np.ndarray)):
            return self._known_content(value)
        if isinstance(value, tuple):
            return [self._described(item) for item in value]
        if id(value) in self._met:
            return {"number": self._met[id(value)][0]}
        self._met[id(value)] = (len(self._met), value)
        if isinstance(value, list):
            return [self._described(item) for item in self.watch(value)]
        kind = class_of(value)
        return {"a": f"{kind.__module__}.{kind.__qualname__}", **self._parts(value)}

    def _parts(self, value: Any) -> dict[str, Any]:
        if isinstance(value, _SAY_ALL):
            return {"says": repr(value)}
        if isinstance(value, (set, frozenset)):
            return {"holds": sorted(map(repr, self.watch(value)))}
        if isinstance(value, functools.partial):
            return {"calls": self._described((value.func, value.args, value.keywords))}
        if hasattr(value, "__code__"):
            name = f"{value.__module__}.{value.__qualname__}"
            return {"named": name, "code": [self._described(part) for part in _code(value)]}
        parts: dict[str, Any] = {}
        if isinstance(value, dict):  # a module is a dict of its arrays, modules, lists and dicts
            parts["holds"] = self._fields(value, public=isinstance(value, nn.Module))
        if hasattr(value, "__dict__"):
            parts["has"] = self._fields(vars(value))
        return parts or {"named": getattr(value, "__name__", "")}

    def _fields(self, mapping: dict[Any, Any], *, public: bool = True) -> list[Any]:
        fields = sorted(self.watch(mapping).items(), key=lambda item: str(item[0]))
        return [
            [self._described(name), self._described(value)]
            for name, value in fields
            if not public or counts(name, value)
        ]

    def _known_content(self, array: Any) -> str:
        """What an array holds, hashed once for as long as it is the same object."""
        found = self._known.get(id(array)) or self._contents.get(id(array)) or (array, content(array))
        self._contents[id(array)] = found
        return found[1]


class _Watched:
    """A container, and which objects were in it when it was looked at."""

    def __init__(self, container: Any) -> None:
        self._container = container
        self._look()

    def _look(self) -> None:
        self._names = list(self._container)
        self._values = list(self._container.values()) if self._is_dict else self._names

    @property
    def _is_dict(self) -> bool:
        return isinstance(self._container, dict)

    def copy(self) -> Any:
        """What it held."""
        return dict(zip(self._names, self._values, strict=True)) if self._is_dict else list(self._values)

    def holds(self) -> bool:
        """Whether it holds the same objects under the same names, but for a model's state."""
        container = self._container
        if isinstance(container, dict):
            if list(container) == self._names and all(map(is_, container.values(), self._values)):
                return True
            then, now = (
                {name: id(value) for name, value in fields.items() if counts(name, value)}
                for fields in (self.copy(), container)
            )
            if then != now:
                return False
            self._look()  # the next time, by the short way again
            return True
        return len(container) == len(self._values) and all(map(is_, container, self._values))


def counts(name: Any, value: Any) -> bool:
    """Whether an attribute decides what a module computes: state does not, but modules do by any name."""
    return not (isinstance(name, str) and name.startswith("_")) or isinstance(value, nn.Module)


def _code(function: Any) -> Iterator[Any]:
    """What tells two functions of one name apart, as far as it can be written down."""
    code = function.__code__
    yield from (code.co_code.hex(), code.co_names)
    yield from (item for item in code.co_consts if not hasattr(item, "co_code"))
    yield from (getattr(function, name, None) for name in ("__defaults__", "__kwdefaults__"))
    yield from (cell.cell_contents for cell in function.__closure__ or ())


def content(array: Any) -> str:
    """An array's dtype, shape and content; of one in a GPU's own memory, that of copies of its pieces.

    numpy reads CUDA's arrays by moving them to the host's memory, where they then stay.
    """
    if isinstance(array, np.ndarray):
        return Key.from_array(array).text
    is_apart = mx.cuda.is_available() and on_gpu()
    values = array.reshape(-1).view(mx.uint8)
    pieces = (values[start : start + PIECE] for start in range(0, values.size, PIECE))
    keys = (Key.from_array(mx.bitwise_or(piece, 0) if is_apart else piece) for piece in pieces)
    return " ".join([str(array.dtype), str(array.shape), *(key.text for key in keys)])
