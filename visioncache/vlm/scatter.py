"""Scatter: features put in the places of a prompt's image tokens, row by row.

A dozen of mlx-vlm's families have numpy look for the place of every single number of every feature, which is
two thousand times as many as there are image tokens, and on a GPU all of them travel to and fro. The
same bits arrive when tokens are looked for and rows are put in their places.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np

from visioncache.vlm.swap import Taken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_NAMES = ("masked_scatter", "_masked_scatter")
_ARGUMENTS = ("embeddings", "mask", "features")


def slow_scatters(model: Any) -> Iterator[tuple[Any, str]]:
    """Modules of a model's class, and the name of a function of each that is worth a `scatter` around it."""
    for module in dict.fromkeys(sys.modules[cls.__module__] for cls in type(model).__mro__):
        for name in _NAMES:
            function = getattr(module, name, None)
            function = function.original if isinstance(function, Taken) else function
            if function is not None and _is_slow(function):
                yield module, name


def scatter(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What a slow function makes of embeddings, a mask and features; it is asked where rows would not do.

    Args:
        original: the function.
        args: embeddings `[..., size]`, a mask of the same shape, true for all numbers of a token or for
            none, and as many features as it has tokens, `[..., size]`.
        kwargs: nothing that mlx-vlm passes.
    """
    if len(args) == len(_ARGUMENTS) and not kwargs:
        embeddings, mask, features = args
        if embeddings.shape == mask.shape and embeddings.ndim > 1:
            of_tokens = mask[..., 0] != 0
            whole = mx.all((mask != 0) == of_tokens[..., None])
            mx.eval(of_tokens, whole)
            places = np.flatnonzero(of_tokens)
            size = embeddings.shape[-1]
            if whole.item() and features.size == places.size * size:
                rows = embeddings.reshape(-1, size)
                rows[mx.array(places, mx.uint32)] = features.reshape(-1, size)
                return rows.reshape(embeddings.shape)
    return original(*args, **kwargs)


@cache
def _is_slow(function: Callable[..., Any]) -> bool:
    """Whether it has numpy look for places, and does what `scatter` does."""
    code = getattr(function, "__code__", None)
    if code is None or not {"np", "where"} <= set(code.co_names):
        return False
    embeddings = mx.arange(15, dtype=mx.float32).reshape(1, 5, 3)
    mask = mx.broadcast_to(mx.array([[[False], [True], [False], [True], [True]]]), embeddings.shape)
    example = embeddings, mask, -mx.arange(9, dtype=mx.float32).reshape(3, 3)
    try:
        return bool(mx.array_equal(function(*example), scatter(function, *example)))
    except Exception:  # noqa: BLE001  # whatever it is, it is another one
        return False
