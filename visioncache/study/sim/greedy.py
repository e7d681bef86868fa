"""Greedy policies: whoever has the lowest priority goes; GDSF and LRFU differ in the priority alone."""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING

import numpy as np

from visioncache.study.sim.outcome import Asked, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable


def gdsf(asked: Asked, capacity: int) -> Outcome:
    """Greedy-Dual-Size-Frequency (Cherkasova, HPL-98-69R1, 1998), its cost the encode seconds.

    An entry's priority is age + seconds x uses / size; the lowest goes, and age becomes what it had, so
    that entries which are no longer used fall behind. Values without seconds cost the same each.
    """
    cost: list[float] = (asked.seconds if asked.seconds.any() else np.ones(len(asked.keys))).tolist()
    sizes: list[int] = asked.sizes.tolist()
    uses: dict[int, int] = {}

    def priority(turn: int, key: int, held: float | None, age: float) -> float:
        uses[key] = 1 if held is None else uses[key] + 1
        return age + cost[turn] * uses[key] / max(sizes[turn], 1)

    return _lowest_goes(asked, capacity, priority)


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
    growth = -math.log(decay)

    def priority(turn: int, _key: int, held: float | None, _age: float) -> float:
        return turn * growth if held is None else float(np.logaddexp(held, turn * growth))

    return _lowest_goes(asked, capacity, priority)


def _lowest_goes(
    asked: Asked, capacity: int, priority_of: Callable[[int, int, float | None, float], float]
) -> Outcome:
    """Evict by priority, a function of the look-up's number, its key, the priority held and the age."""
    hits = np.zeros(len(asked.keys), np.bool_)
    held: dict[int, tuple[float, int, int]] = {}  # key -> priority, turn, size
    queue: list[tuple[float, int, int]] = []  # priority, turn, key; stale where `held` disagrees
    age, filled, evictions = 0.0, 0, 0
    for turn, (key, size) in enumerate(zip(asked.keys.tolist(), asked.sizes.tolist(), strict=True)):
        entry = held.get(key)
        if entry is not None:
            hits[turn] = True
        elif size > capacity:
            continue
        else:
            while filled + size > capacity:
                lowest, when, victim = heapq.heappop(queue)
                if held.get(victim, (0.0, -1))[1] == when:
                    age = lowest
                    filled -= held.pop(victim)[2]
                    evictions += 1
            filled += size
        priority = priority_of(turn, key, None if entry is None else entry[0], age)
        held[key] = priority, turn, size
        heapq.heappush(queue, (priority, turn, key))
    return Outcome(hits, evictions)
