"""Greedy policies: whoever has the lowest priority goes; GDSF and LRFU differ in the priority alone."""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from visioncache.study.sim.compiled import compiled
from visioncache.study.sim.order import order_of
from visioncache.study.sim.outcome import Asked, Outcome

if TYPE_CHECKING:
    from numpy.typing import NDArray


def gdsf(asked: Asked, capacity: int) -> Outcome:
    """Greedy-Dual-Size-Frequency (Cherkasova, HPL-98-69R1, 1998), its cost the encode seconds.

    An entry's priority is age + seconds x uses / size; the lowest goes, and age becomes what it had, so
    that entries which are no longer used fall behind. Values without seconds cost the same each.
    """
    cost = asked.seconds if asked.seconds.any() else np.ones(len(asked.keys))
    return _lowest_goes(asked, capacity, cost, fades=False)


def lrfu(asked: Asked, capacity: int, *, decay: float = 0.999) -> Outcome:
    """LRFU (Lee et al., IEEE Trans. Computers 50(12), 2001): uses count less the longer ago they were.

    Args:
        asked: the look-ups.
        capacity: in the units of their sizes.
        decay: what a use is worth after one more look-up, above 0 and at most 1: LFU at 1, LRU towards 0.

    Raises:
        ValueError: a decay out of range.
    """
    if not 0 < decay <= 1:
        raise ValueError(f"decay={decay!r}: above 0 and at most 1")
    # The sum of decay**(now - t) over uses orders entries as its logarithm at time 0 does.
    return _lowest_goes(asked, capacity, np.arange(len(asked.keys)) * -math.log(decay), fades=True)


def _lowest_goes(asked: Asked, capacity: int, worth: NDArray[Any], *, fades: bool) -> Outcome:
    """Evict by priority: `worth` is each look-up's cost, or if uses fade the logarithm of what it counts."""
    most = int(asked.keys.max(initial=0)) + 1
    replay = compiled(_replay, len(asked.keys))
    steps, repeats = order_of(asked)
    hits, evictions = replay(
        steps, repeats, asked.keys, asked.sizes, worth, min(capacity, np.iinfo(np.int64).max), fades, most
    )
    return Outcome(hits, int(evictions))


def _replay(
    steps: Any, repeats: Any, keys: Any, sizes: Any, worth: Any, capacity: int, fades: bool, most: int
) -> Any:  # one loop, compiled, so that it does itself what `drive` does for others
    """Replay steps, one by one: which look-ups hit, and how many evictions there were."""
    hits = np.zeros(len(keys), np.bool_)
    priority = np.zeros(most, np.float64)
    uses = np.zeros(most, np.int64)
    turn_of = np.full(most, -1, np.int64)  # by key: its latest step; -1 for one that is not held
    size_of = np.zeros(most, np.int64)
    queue = [(0.0, 0, 0) for _ in range(0)]  # priority, turn, key; stale where `turn_of` disagrees
    age, filled, evictions = 0.0, 0, 0
    for turn in range(len(steps)):
        step = int(steps[turn])
        i = step if step >= 0 else -1 - step
        key, size = int(keys[i]), int(sizes[i])
        held = turn_of[key] >= 0
        if step >= 0:
            hits[i] = held or repeats[i]
            if not held:
                continue
            uses[key] += 1
        elif held or hits[i] or size > capacity:
            continue
        else:
            while filled + size > capacity:
                lowest, when, victim = heapq.heappop(queue)
                if turn_of[victim] == when:
                    age = lowest
                    filled -= size_of[victim]
                    turn_of[victim] = -1
                    evictions += 1
            filled += size
            size_of[key] = size
            uses[key] = 1
        now = float(worth[i])
        if not fades:
            now = age + now * uses[key] / max(size, 1)
        elif held:
            high, low = max(priority[key], now), min(priority[key], now)
            now = high + math.log1p(math.exp(low - high))
        priority[key] = now
        turn_of[key] = turn
        heapq.heappush(queue, (now, turn, key))
    return hits, evictions
