"""Order: a request's look-ups come first; then what they missed is stored, as an attached model does it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from visioncache.study.sim.outcome import Asked


class Order(NamedTuple):
    """The steps of a replay."""

    steps: NDArray[np.int64]
    """`i` makes look-up `i`; `~i` stores what it missed, after the last look-up of its request."""
    repeats: NDArray[np.bool_]
    """Tells for every look-up whether its request asked for the same before: it is encoded once."""


def order_of(asked: Asked) -> Order:
    """Put the look-ups of a trace, and the storing of what they missed, into order."""
    count = len(asked.keys)
    when = np.concatenate([2 * np.arange(count), 2 * last_lookups(asked.requests) + 1])
    places = np.argsort(when, kind="stable")
    pairs = pd.DataFrame({"request": asked.requests, "key": asked.keys})
    return Order(np.where(places < count, places, count - 1 - places), pairs.duplicated().to_numpy())


def last_lookups(requests: NDArray[np.int64]) -> NDArray[np.int64]:
    """Find for every look-up the place of the last one of its request."""
    which, names = pd.factorize(requests)
    last = np.zeros(len(names), np.int64)
    last[which] = np.arange(len(which))  # of several, the last is kept
    return last[which]


def is_one_by_one(requests: NDArray[np.int64]) -> bool:
    """Tell if each look-up is a request of its own."""
    return bool((last_lookups(requests) == np.arange(len(requests))).all())


def drive(
    asked: Asked, holds: Callable[[int], bool], get: Callable[[int], bool], put: Callable[[int, int], object]
) -> NDArray[np.bool_]:
    """Drive a cache that begins empty through a trace, and return which look-ups hit.

    Args:
        asked: the look-ups.
        holds: tells if a key is held, and changes nothing.
        get: looks a key up, and tells if it is held.
        put: stores a key that is not held, with its size.
    """
    keys, sizes = asked.keys.tolist(), asked.sizes.tolist()
    steps, repeats = (part.tolist() for part in order_of(asked))
    hits = [False] * len(keys)
    for step in steps:
        if step >= 0:
            hits[step] = get(keys[step]) or repeats[step]
        elif not hits[~step] and not holds(keys[~step]):
            put(keys[~step], sizes[~step])
    return np.array(hits, np.bool_)
