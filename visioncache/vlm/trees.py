"""Trees: values that are an array, or a nested tuple, list or dict of arrays and None."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mlx.core as mx

from visioncache.sizes import dtype_of, leaves

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def merge(combine: Callable[[list[Any]], Any], values: Sequence[Any]) -> Any:
    """One tree of the shape that all `values` share, each leaf made by `combine` of theirs."""
    first = values[0]
    if isinstance(first, (tuple, list)):
        return type(first)(merge(combine, items) for items in zip(*values, strict=True))
    if isinstance(first, dict):
        return {name: merge(combine, [value[name] for value in values]) for name in first}
    return None if first is None else combine(list(values))


def concatenate(axis: int = 0) -> Callable[[Sequence[Any]], Any]:
    """Join the values of several images along an axis; one image's value stays as it is."""

    def join(values: Sequence[Any]) -> Any:
        if len(values) == 1:
            return values[0]
        return merge(lambda arrays: mx.concatenate(arrays, axis=axis), values)

    return join


def owned(value: Any) -> Any:
    """The same tree, evaluated, each array contiguous in a buffer of its own.

    A slice would keep the whole array that it was cut from alive; `mx.contiguous` copies it out.
    """
    own = merge(lambda arrays: mx.contiguous(arrays[0]), [value])
    mx.eval(own)
    return own


def token_count(value: Any) -> int:
    """Rows of a value's features, which are its first array: what the language model sees of an image."""
    features = next(leaves(value))
    return int(features.size) // int(features.shape[-1])


def outline(value: Any) -> list[list[Any]]:
    """`[shape, dtype]` of every array, in order; the same in every process."""
    return [[list(leaf.shape), dtype_of(leaf)] for leaf in leaves(value)]
