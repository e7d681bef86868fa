"""Scatter: features put in the places of a prompt's image tokens, row by row.

A dozen of mlx-vlm's families have numpy look for the place of every single number of every feature, which is
two thousand times as many as there are image tokens, and on a GPU all of them travel to and fro. The
same bits arrive when tokens are looked for and rows are put in their places.
"""

from __future__ import annotations

import sys
from functools import cache
from itertools import product
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np

from visioncache.vlm.patching.functions import untaken
from visioncache.vlm.patching.instances import class_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAME = "masked_scatter"
_ARGUMENTS = ("embeddings", "mask", "features")


def slow_scatters(model: Any) -> Iterator[Any]:
    """Modules of a model's class whose `masked_scatter` is worth a `scatter` around it."""
    for name in dict.fromkeys(cls.__module__ for cls in class_of(model).__mro__):
        function = untaken(getattr(sys.modules.get(name), NAME, None))
        if hasattr(function, "__code__") and _is_slow(function):
            yield sys.modules[name]


def scatter(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Do what a slow function does with embeddings, a mask and features; ask it where rows would not do.

    Args:
        original: the function.
        args: embeddings `[..., size]`, a mask of the same shape, true for all numbers of a token or for
            none, and as many features as it has tokens, `[..., size]`.
        kwargs: nothing that mlx-vlm passes.
    """
    if len(args) == len(_ARGUMENTS) and not kwargs and all(isinstance(item, mx.array) for item in args):
        embeddings, mask, features = args
        if embeddings.shape == mask.shape and embeddings.ndim > 1 and mask.dtype == mx.bool_:
            of_tokens = mask[..., 0]
            whole = mx.all(mask == of_tokens[..., None])
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
    """Tell whether it has numpy look for places, and does what `scatter` does, to the last bit."""
    if not {"np", "where"} <= set(function.__code__.co_names):
        return False
    rng = np.random.default_rng(0)
    tokens, size = rng.permutation([True] * 6 + [False] * 8).reshape(2, 7), 5
    mask = mx.broadcast_to(mx.array(tokens)[..., None], (*tokens.shape, size))
    embeddings, features = (mx.array(rng.normal(size=shape)) for shape in (mask.shape, (6, size)))
    try:
        for into, of in product((mx.float32, mx.bfloat16), repeat=2):
            example = embeddings.astype(into), mask, features.astype(of)
            theirs, ours = function(*example), scatter(function, *example)
            if theirs.dtype != ours.dtype or not mx.array_equal(theirs, ours):
                return False
    except Exception:  # noqa: BLE001  # whatever it is, it is another one
        return False
    return True
