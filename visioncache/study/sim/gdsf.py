"""GDSF: drop what saves least per byte (encode seconds x uses / bytes), with ageing."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

import numpy as np

from visioncache.study.sim.outcome import Outcome

if TYPE_CHECKING:
    from visioncache.study.sim.outcome import Asked


def gdsf(asked: Asked, capacity: int) -> Outcome:
    """Greedy-Dual-Size-Frequency (Cherkasova, HPL-98-69R1, 1998), its cost the encode seconds.

    An entry's priority is age + seconds x uses / size; the lowest goes, and age becomes what it had, so
    that entries which are no longer used fall behind. Values without seconds cost the same each.
    """
    hits = np.zeros(len(asked.keys), np.bool_)
    cost = asked.seconds if asked.seconds.any() else np.ones(len(asked.keys))
    held: dict[int, tuple[float, int, int, int]] = {}  # key -> priority, turn, uses, size
    queue: list[tuple[float, int, int]] = []  # priority, turn, key; stale where `held` disagrees
    age, filled, evictions = 0.0, 0, 0
    requests = zip(asked.keys.tolist(), asked.sizes.tolist(), cost.tolist(), strict=True)
    for turn, (key, size, seconds) in enumerate(requests):
        uses = 1
        if key in held:
            hits[turn] = True
            uses = held[key][2] + 1
        elif size > capacity:
            continue
        else:
            while filled + size > capacity:
                priority, when, victim = heapq.heappop(queue)
                if held.get(victim, (0.0, -1))[1] == when:
                    age = priority
                    filled -= held.pop(victim)[3]
                    evictions += 1
            filled += size
        priority = age + seconds * uses / max(size, 1)
        held[key] = priority, turn, uses, size
        heapq.heappush(queue, (priority, turn, key))
    return Outcome(hits, evictions)
