"""Parts: which images a batch of pixels is made of, on its way from the processor to the model."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from io import StringIO
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_map

from visioncache.keys import Key
from visioncache.sizes import leaves

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class Part:
    """One image (or video) of a request: known already, or about to be encoded."""

    key: Key
    label: str = ""
    features: Any = None
    """The stored value when the image was known; held, so that no eviction can take it away."""
    inputs: dict[str, Any] = field(default_factory=dict)
    """What the model encodes it from, when it was not known."""
    meta: dict[str, Any] = field(default_factory=dict)
    """What is stored beside the value."""
    seconds: float = 0.0
    """What its inputs cost to make."""


class Requests:
    """Parts by the pixels that stand for them, for as long as the first array of these lives."""

    def __init__(self) -> None:
        self._by_id: dict[int, tuple[list[_Seen], dict[str, Any], list[Part]]] = {}

    def remember(self, pixels: Any, beside: dict[str, Any], parts: list[Part]) -> None:
        """Note what `pixels`, an array or a tree of them, is made of, and what came with it."""
        first, *others = leaves(pixels)
        name = id(first)
        seen = [_Seen(first, lambda _: self._by_id.pop(name, None)), *map(_Seen, others)]
        self._by_id[name] = (seen, tree_map(_copied, beside), parts)

    def find(self, pixels: Any, inputs: dict[str, Any]) -> list[Part] | None:
        """The parts of these very pixels.

        None for pixels that came from elsewhere, one of a list even, or that were written into
        since; and where what came beside them (a grid, a mask) is another one in `inputs`.
        """
        arrays = list(leaves(pixels))
        seen, beside, parts = self._by_id.get(id(arrays[0]), ([], {}, None)) if arrays else ([], {}, None)
        if len(seen) != len(arrays):
            return None
        same = all(one.still(array) for one, array in zip(seen, arrays, strict=True))
        given = [(value, inputs[name]) for name, value in beside.items() if inputs.get(name) is not None]
        return parts if same and all(_equal(value, now) for value, now in given) else None


class _Seen:
    """An array as it was: which object, with what in it."""

    def __init__(self, array: Any, forget: Callable[[Any], object] | None = None) -> None:
        self._ref = weakref.ref(array, forget)
        self._was: Any = alias(array) if isinstance(array, mx.array) else Key.from_array(array)

    def still(self, array: Any) -> bool:
        """Whether this is the array, and nobody wrote into it."""
        if self._ref() is not array:
            return False
        if isinstance(array, mx.array):
            return _is_alias(self._was, array)
        return bool(Key.from_array(array) == self._was)


def alias(array: Any) -> Any:
    """Another array on an mlx array's buffer, which what is written into that one never reaches.

    But for what is written through a numpy view of it, which is a write into the buffer.
    """
    return array[...] if isinstance(array, mx.array) else array


def _copied(value: Any) -> Any:
    return value.copy() if isinstance(value, np.ndarray) else alias(value)


def _equal(one: Any, other: Any) -> bool:
    """Whether two trees of arrays hold the same numbers, be they MLX's or numpy's."""
    if isinstance(one, mx.array) and isinstance(other, mx.array):
        return _is_alias(one, other) or bool(mx.array_equal(one, other, equal_nan=True).item())
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(np.array_equal(np.asarray(one), np.asarray(other)))


def _is_alias(one: mx.array, other: mx.array) -> bool:
    """Whether two arrays are one node of mlx's graph, as aliases are until one of them is written into.

    Asked of the graph, because nothing in Python names a node. An address would tell too, but a CUDA
    GPU's array has none that the host may see: to ask for it is to have the array moved there.
    """
    mx.eval(one)
    return _graph(one, other) == _ONE_NODE


def _graph(*arrays: mx.array) -> str:
    """The nodes of arrays and of what they are yet to be computed from, as `dot` would draw them."""
    drawn = StringIO()
    mx.export_to_dot(drawn, *arrays)
    return drawn.getvalue()


_ONE_NODE = _graph(mx.array(0))
"""What is evaluated, with nothing behind it; inside of `mx.grad` and its kin, nothing is that."""
