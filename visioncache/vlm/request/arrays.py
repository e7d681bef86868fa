"""Arrays among the inputs of a model: find them, tell what they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np

from visioncache.keys import Key
from visioncache.vlm.request.stand_in import is_stand_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def leaves_of(values: Any) -> Iterator[Any]:
    """Yield the arrays in values, of which some may be settings."""
    return (leaf for value in values if is_data(value) for leaf in _arrays(value))


def _arrays(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _arrays(item)
    elif isinstance(value, dict):
        yield from _arrays(list(value.values()))
    elif isinstance(value, (mx.array, np.ndarray)):
        yield value


def holds_nan(features: Any) -> bool:
    """Tell whether NaN is among the embeddings of a prompt."""
    told = features.to_dict() if hasattr(features, "to_dict") else getattr(features, "__dict__", features)
    found = (mx.array(a) if isinstance(a, np.ndarray) else a for a in leaves_of([told]))
    arrays = [a for a in found if mx.issubdtype(a.dtype, mx.floating) and a.size]
    # A sum is NaN if a number is; it can be NaN otherwise, so that then all are looked at.
    sums = [mx.sum(array) for array in arrays]
    mx.eval(sums)
    return any(np.isnan(one.item()) for one in sums) and any(map(is_stand_in, arrays))


def is_data(value: Any) -> bool:
    return isinstance(value, (mx.array, np.ndarray, list, tuple, dict))


def content(value: Any) -> Key:
    """Return the identity of one input: arrays by their content, sizes and settings as they are written."""
    if isinstance(value, (list, tuple)):
        return Key.of([content(item) for item in value])
    if isinstance(value, dict):
        return content([[name, value[name]] for name in sorted(value)])
    return Key.of(value) if hasattr(value, "dtype") else Key.from_source(repr(value))


def repeatable(
    original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Callable[[], Any]:
    """Make a call that can be done again, though the processor may write into the lists that it is given."""

    def own(value: Any) -> Any:
        return list(value) if type(value) is list else value

    kept, named = tuple(map(own, args)), {name: own(value) for name, value in kwargs.items()}
    return lambda: original(*map(own, kept), **{name: own(value) for name, value in named.items()})
