"""Offline optima: Belady's MIN, a bound on it for values of many sizes, and the compulsory misses."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from visioncache.study.sim.order import last_lookups
from visioncache.study.sim.outcome import Outcome

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from visioncache.study.sim.outcome import Asked

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


def belady(asked: Asked, capacity: int) -> Outcome:
    """Find the hits of MIN (Belady, 1966), by entries: drop what is used again last, the new one included.

    That a new value may itself be dropped makes this a bound for policies that admit selectively too. A
    value waits from the end of one request for a later one. What waits within a request takes no room.
    """
    waits = _waits(asked)
    start, before = waits.start.tolist(), waits.before.tolist()
    begins = iter(np.flatnonzero(waits.takes_room)[np.argsort(waits.start[waits.takes_room], kind="stable")])
    begin = next(begins, None)
    hits = (waits.before >= 0).tolist()  # but for those that are dropped
    queue: list[int] = []  # the next uses, negated; those that are over are never the latest
    waiting = evictions = 0
    for now, takes_room in enumerate(waits.takes_room.tolist()):
        waiting -= takes_room and hits[now]
        while begin is not None and start[begin] == now:
            heapq.heappush(queue, -int(begin))
            waiting += 1
            begin = next(begins, None)
        while waiting > capacity:
            latest = -heapq.heappop(queue)
            hits[latest] = False
            waiting -= 1
            evictions += start[latest] < now or hits[before[latest]]
    return Outcome(np.array(hits, np.bool_), evictions)


class _Waits(NamedTuple):
    """For every look-up, how long its value waits in a cache that it is to hit."""

    before: NDArray[np.int64]
    """The look-up before for the same key; -1 for the first."""
    start: NDArray[np.int64]
    """The last look-up of that one's request, after which the value is stored at the latest."""
    takes_room: NDArray[np.bool_]
    """Tells if it waits at all: what its own request asked for before is there anyway."""


def _waits(asked: Asked) -> _Waits:
    before = previous_use(asked.keys)
    start = last_lookups(asked.requests)[before]
    return _Waits(before, start, (before >= 0) & (start < np.arange(len(before))))


def most_saved(
    asked: Asked, worth: NDArray[np.float64], capacity: float, *, steps: int | None = None
) -> float:
    """An upper bound on the worth of the look-ups that any policy, even a clairvoyant one, can hit.

    A hit needs its value to lie in the cache since the end of the request before that asked for it: `size`
    bytes over that interval, of at most `capacity` at any time. With fractions of values allowed this is
    the linear programme FOO of Berger, Beckmann and Harchol-Balter ("Practical Bounds on Optimal Caching with
    Variable Object Sizes", POMACS 2(2), 2018). Its Lagrangian dual, with a price on a byte at each
    moment, bounds it from above whatever the prices. One price for all time gives their PFOO-L; from
    there the prices follow demand, and the best bound seen is returned.

    Args:
        asked: the look-ups, with bytes for sizes, or ones for the bound by entries.
        worth: what hitting each look-up is worth: 1, its bytes or its seconds.
        capacity: bytes.
        steps: how often prices are adjusted; by default 150 times, less on long traces.
    """
    if steps is None:
        steps = min(STEPS, max(PASSED // max(len(asked.keys), 1), 10))
    waits = _waits(asked)
    ends = np.zeros(len(asked.keys), np.int64)
    ends[last_lookups(asked.requests)] = 1
    earlier = np.cumsum(ends) - ends  # a moment is the end of a request, when the most waits
    count = int(ends.sum())
    free = float(worth[(waits.before >= 0) & ~waits.takes_room].sum())
    fits = waits.takes_room & (asked.sizes <= capacity)
    start, end = earlier[waits.start[fits]], earlier[fits]
    size, value = asked.sizes[fits].astype(np.float64), worth[fits]
    if not len(start):
        return free
    room = count * float(capacity)
    needs = size * (end - start)
    # Fractional knapsack of byte-moments: the price is that of the last interval that fits.
    rate = value / np.maximum(needs, 1.0)
    order = np.argsort(-rate, kind="stable")
    filled = np.cumsum(needs[order])
    last = min(int(np.searchsorted(filled, room)), len(order) - 1)
    price = float(rate[order[last]])
    over = filled[last] - room
    stride = max(price, float(np.median(rate)))  # the last interval may be very long, and its price too small
    if filled[-1] > room:
        best = float(value[order[: last + 1]].sum() - price * over)
        prices = np.full(count, price)
    else:  # all of it fits on average, if not at every moment
        best = float(value.sum())
        prices = np.zeros(count)
    for step in range(steps):
        paid = np.concatenate([[0.0], np.cumsum(prices)])
        gain = value - size * (paid[end] - paid[start])
        best = min(best, capacity * float(paid[-1]) + float(np.maximum(gain, 0.0).sum()))
        taken = gain > 0
        change = np.bincount(start[taken], size[taken], count) - np.bincount(end[taken], size[taken], count)
        surplus = np.cumsum(change) / capacity - 1.0
        prices = np.maximum(prices + stride * surplus / (1.0 + step) ** 0.5, 0.0)
    return free + best


def reusable(keys: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The look-ups that hit in an infinite cache: all but the first of each key, a compulsory miss."""
    return previous_use(keys) >= 0
