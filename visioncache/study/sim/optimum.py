"""Offline optima: Belady's MIN, a bound on it for values of many sizes, and the compulsory misses."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

import numpy as np

from visioncache.study.sim.outcome import Outcome

if TYPE_CHECKING:
    from numpy.typing import NDArray

NEVER = np.iinfo(np.int64).max
STEPS = 150
"""Of the dual ascent; each is one pass over the trace and none can spoil the bound."""
PASSED = 15_000_000
"""Look-ups that all steps together pass over, at most: a long trace has fewer steps."""


def previous_use(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """For every request, the index of the request before it for the same key; -1 for the first."""
    order = np.argsort(keys, kind="stable")
    same = keys[order][1:] == keys[order][:-1]
    before = np.full(len(keys), -1, np.int64)
    before[order[1:][same]] = order[:-1][same]
    return before


def next_use(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """For every request, the index of the next one for the same key; `NEVER` for the last."""
    return np.where((after := previous_use(keys[::-1])[::-1]) < 0, NEVER, len(keys) - 1 - after)


def belady(keys: NDArray[np.int64], capacity: int) -> Outcome:
    """MIN (Belady, 1966) for values of one size: drop what is used again last, the new one included.

    That a new value may itself be dropped makes this a bound for policies that admit selectively too.
    """
    after = next_use(keys)
    hits = np.zeros(len(keys), np.bool_)
    held: dict[int, int] = {}  # key -> its next use
    queue: list[tuple[int, int]] = []  # (-next use, key); stale where `held` disagrees
    evictions = 0
    for i, (key, then) in enumerate(zip(keys.tolist(), after.tolist(), strict=True)):
        if key in held:
            hits[i] = True
        elif then == NEVER or capacity < 1:
            continue
        elif len(held) >= capacity:
            while held.get(queue[0][1]) != -queue[0][0]:
                heapq.heappop(queue)
            if -queue[0][0] <= then:
                continue
            del held[heapq.heappop(queue)[1]]
            evictions += 1
        if then == NEVER:
            # Used for the last time: its place is free at no loss.
            del held[key]
        else:
            held[key] = then
            heapq.heappush(queue, (-then, key))
    return Outcome(hits, evictions)


def most_saved(
    keys: NDArray[np.int64],
    sizes: NDArray[np.int64],
    worth: NDArray[np.float64],
    capacity: float,
    *,
    steps: int | None = None,
) -> float:
    """An upper bound on the worth of the requests that any policy, even a clairvoyant one, can hit.

    A hit needs its value to lie in the cache since the request before: `size` bytes over that
    interval, of at most `capacity` at any time. With fractions of values allowed this is the linear
    programme FOO of Berger, Beckmann and Harchol-Balter ("Practical Bounds on Optimal Caching with
    Variable Object Sizes", POMACS 2(2), 2018). Its Lagrangian dual, with a price on a byte at each
    moment, bounds it from above whatever the prices. One price for all time gives their PFOO-L; from
    there the prices follow demand, and the best bound seen is returned.

    Args:
        keys: what is asked for, as small integers.
        sizes: bytes of each request's value (ones: the bound for entries).
        worth: what hitting each request is worth: 1, its bytes or its seconds.
        capacity: bytes.
        steps: how often prices are adjusted; by default 150 times, less on long traces.
    """
    if steps is None:
        steps = min(STEPS, max(PASSED // max(len(keys), 1), 10))
    before = previous_use(keys)
    fits = (before >= 0) & (sizes <= capacity)
    start, end = before[fits], np.flatnonzero(fits)
    size, value = sizes[fits].astype(np.float64), worth[fits]
    if not len(start):
        return 0.0
    room = len(keys) * float(capacity)
    needs = size * (end - start)
    # Fractional knapsack of byte-moments: the price is that of the last interval that fits.
    rate = value / np.maximum(needs, 1.0)
    order = np.argsort(-rate, kind="stable")
    filled = np.cumsum(needs[order])
    last = min(int(np.searchsorted(filled, room)), len(order) - 1)
    price = float(rate[order[last]])
    over = filled[last] - room
    if filled[-1] > room:
        best = float(value[order[: last + 1]].sum() - price * over)
        prices = np.full(len(keys), price)
    else:  # all of it fits on average, if not at every moment
        best = float(value.sum())
        prices = np.zeros(len(keys))
    for step in range(steps):
        paid = np.concatenate([[0.0], np.cumsum(prices)])
        gain = value - size * (paid[end] - paid[start])
        best = min(best, capacity * float(paid[-1]) + float(np.maximum(gain, 0.0).sum()))
        taken = gain > 0
        change = np.bincount(start[taken], size[taken], len(keys)) - np.bincount(
            end[taken], size[taken], len(keys)
        )
        surplus = np.cumsum(change) / capacity - 1.0
        prices = np.maximum(prices + price * surplus / (1.0 + step) ** 0.5, 0.0)
    return best


def reusable(keys: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The requests that hit in an infinite cache: all but the first of each key, a compulsory miss."""
    return previous_use(keys) >= 0
