"""Codec: a feature value to safetensors bytes and back, bit for bit.

The bytes are a safetensors file that any tool can open: a header (`header.py`), which says how the value is
nested too, and the arrays. Nothing in the bytes is executed or believed: what does not hold together is a
ValueError, found in time and memory that are bounded by the length of the bytes and by limits.
"""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from visioncache.stores import header

if TYPE_CHECKING:
    from collections.abc import Iterator

    from visioncache.stores.header import Span

MAX_DEPTH = 32
"""Tuples, lists and dicts that lie in one another."""


class Stored(NamedTuple):
    """Hold what was stored."""

    value: Any
    """An mlx array, or a tuple, list or dict of them; evaluated, in buffers of their own."""
    key: str
    """The text of the key that it was stored under."""
    meta: Any
    """Meta, as JSON keeps it."""


def encode(value: Any, *, key: str, meta: Any = None) -> bytes:
    """A value as bytes.

    Args:
        value: an mlx array, or tuples, lists and dicts (of str) of arrays and None, nested at most
            32 deep. Arrays are evaluated if they have not been. An array that occurs twice is
            stored once.
        key: the text of its key.
        meta: what to keep beside it: what JSON can hold (a tuple comes back as a list).

    Raises:
        TypeError: the value or `meta` holds something else.
        ValueError: it is nested deeper, has more arrays or more meta than the limits allow.
    """
    arrays: dict[int, tuple[int, Any]] = {}
    tree = _outline(value, arrays, MAX_DEPTH)
    found = [array for _, array in arrays.values()]
    payload = [*map(_raw, found)]
    ends = [0, *accumulate(map(len, payload))]
    spans = [(_dtype(one), list(one.shape), *where) for one, where in zip(found, pairwise(ends), strict=True)]
    return b"".join([*header.written(key, meta, tree, spans, payload), *payload])


def decode(data: Any) -> Stored:
    """Read back what `encode` wrote, once its checksum holds; `data` is bytes-like and may be let go then.

    Raises:
        ValueError: the bytes are not what `encode` made, or not whole.
    """
    view = memoryview(data).cast("B")
    key, meta, tree, spans, start = header.read(view)
    used: set[int] = set()
    _check_tree(tree, len(spans), used, MAX_DEPTH)
    if len(used) != len(spans):
        raise ValueError(f"not a stored value: {len(spans) - len(used)} tensors that nothing refers to")
    return Stored(_build(tree, _arrays(view[start:], spans)), key, meta)


# Writing ------------------------------------------------------------------------------------------


def _outline(value: Any, arrays: dict[int, tuple[int, Any]], depth: int) -> Any:
    """A value as JSON: an array is its number, a tuple or list names its type first."""
    if value is None:
        return None
    kind = type(value)
    if kind in {tuple, list, dict} and depth == 0:
        raise ValueError(f"a value nested deeper than {MAX_DEPTH} levels can't be stored")
    if kind in {tuple, list}:
        return [kind.__name__, *(_outline(item, arrays, depth - 1) for item in value)]
    if kind is dict:
        for name in value:
            if type(name) is not str:
                raise TypeError(f"a dict of features has str keys; found {name!r}")
        return {name: _outline(item, arrays, depth - 1) for name, item in value.items()}
    if _dtype(value) not in header.DTYPES:
        raise TypeError(
            f"a stored value is an mlx array, or a tuple, list or dict of them; found {kind.__name__}"
        )
    return arrays.setdefault(id(value), (len(arrays), value))[0]


def _dtype(array: Any) -> str:
    """The name of an mlx array's dtype; empty for anything else."""
    module, _, name = str(getattr(array, "dtype", "")).rpartition(".")
    return name if module == "mlx.core" else ""


def _raw(array: Any) -> memoryview:
    """The bytes of an array in row-major order, copied only when it is laid out otherwise."""
    import numpy as np

    view = memoryview(array)
    # numpy reads the bytes whatever the format: memoryview itself does not know bfloat16.
    return np.frombuffer(view, dtype=np.uint8).data if view.c_contiguous else memoryview(view.tobytes())


# Reading ------------------------------------------------------------------------------------------


def _check_tree(tree: Any, count: int, used: set[int], depth: int) -> None:
    """ValueError unless a tree is one that `_outline` makes of `count` arrays."""
    if tree is None:
        return
    if isinstance(tree, (list, dict)) and depth == 0:
        raise ValueError(f"not a stored value: nested deeper than {MAX_DEPTH} levels")
    for item in _children(tree):
        _check_tree(item, count, used, depth - 1)
    if type(tree) is int:
        if not 0 <= tree < count:
            raise ValueError(f"not a stored value: there is no tensor {tree}")
        used.add(tree)
    elif not isinstance(tree, dict) and not (
        isinstance(tree, list) and tree and tree[0] in {"tuple", "list"}
    ):
        raise ValueError("not a stored value: nested in an unknown way")


def _children(tree: Any) -> Iterator[Any]:
    if isinstance(tree, dict):
        yield from tree.values()
    elif isinstance(tree, list):
        yield from tree[1:]


def _arrays(payload: memoryview, spans: list[Span]) -> list[Any]:
    """Evaluated arrays, each with a copy of its bytes."""
    import mlx.core as mx
    import numpy as np

    arrays = []
    for name, shape, start, end in spans:
        raw = mx.array(np.frombuffer(payload[start:end], dtype=np.uint8))
        # On the CPU: a GPU has no float64, and nothing is computed here.
        typed = mx.view(raw, getattr(mx, name if name != "bool" else "bool_"), stream=mx.cpu)
        arrays.append(mx.reshape(typed, shape, stream=mx.cpu))
    mx.eval(arrays)  # so that any thread may use them
    return arrays


def _build(tree: Any, arrays: list[Any]) -> Any:
    if isinstance(tree, list):
        items = [_build(item, arrays) for item in tree[1:]]
        return tuple(items) if tree[0] == "tuple" else items
    if isinstance(tree, dict):
        return {name: _build(item, arrays) for name, item in tree.items()}
    return None if tree is None else arrays[tree]
