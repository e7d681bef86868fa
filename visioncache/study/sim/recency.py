"""Recency: LRU under two bounds, replayed by request, and the smallest bound with which enough is hit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from visioncache.study.sim.compiled import COMPILED_FROM, compiled, has_numba
from visioncache.study.sim.order import order_of
from visioncache.study.sim.outcome import Asked, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

UNBOUNDED = int(np.iinfo(np.int64).max)


class Same(NamedTuple):
    """The bounds that change nothing."""

    first: int
    """The most that was held at once, at least 1."""
    beyond: int
    """The least that was too much."""


class Run(NamedTuple):
    """What an LRU cache did."""

    outcome: Outcome
    sizes: Same
    entries: Same


class Recency:
    """LRU caches of different bounds on one trace.

    Args:
        asked: the look-ups.
    """

    def __init__(self, asked: Asked) -> None:
        self._most = int(asked.keys.max(initial=0)) + 1
        given = (*order_of(asked), asked.keys, asked.sizes)
        quick = len(asked.keys) >= COMPILED_FROM and has_numba()
        self._given = given if quick else tuple(part.tolist() for part in given)  # lists are read faster
        self._replay = compiled(_replay, len(asked.keys))

    def run(self, size: float = UNBOUNDED, entries: float = UNBOUNDED) -> Run:
        """Replay the trace by request through a cache of these bounds that begins empty."""
        bounds = (int(min(bound, UNBOUNDED)) for bound in (size, entries))
        hits, evictions, *same = self._replay(*self._given, *bounds, self._most)
        sizes, counts = Same(int(same[0]), int(same[1])), Same(int(same[2]), int(same[3]))
        return Run(Outcome(hits, int(evictions)), sizes, counts)

    def smallest_size(self, wanted: int, low: int, high: int, entries: float = UNBOUNDED) -> int:
        """Find a size with which `wanted` look-ups hit; see `_smallest`."""

        def probe(size: int) -> tuple[bool, Same]:
            found = self.run(size, entries)
            return bool(found.outcome.hits.sum() >= wanted), found.sizes

        return _smallest(probe, low, high)

    def fewest_entries(self, wanted: int, low: int, high: int, size: float = UNBOUNDED) -> int:
        """Find a number of entries with which `wanted` look-ups hit; see `_smallest`."""

        def probe(entries: int) -> tuple[bool, Same]:
            found = self.run(size, entries)
            return bool(found.outcome.hits.sum() >= wanted), found.entries

        return _smallest(probe, low, high)


def _smallest(probe: Callable[[int], tuple[bool, Same]], low: int, high: int) -> int:
    """Find a bound that is enough, between one that is not and one that is, by halving; one less is not.

    LRU by request is no stack: a larger cache may hit less, though rarely. So a bound below the one that is
    found may be enough too.
    """
    while high - low > 1:
        is_enough, same = probe((low + high) // 2)
        low, high = (low, same.first) if is_enough else (same.beyond - 1, high)
    return high


def _replay(  # one loop, compiled, so that it does itself what `drive` does for others
    steps: Any, repeats: Any, keys: Any, sizes: Any, bound: int, most_entries: int, most: int
) -> Any:
    """Replay steps, one by one: which look-ups hit, evictions, and the bounds that change nothing.

    Held keys are a ring: from `most`, which is none, to the least recently used, and on to the most.
    """
    hits = np.zeros(len(keys), np.bool_)
    newer, older, size_of = [-1] * (most + 1), [-1] * (most + 1), [0] * most
    newer[most] = older[most] = most
    filled, entries, evictions = 0, 0, 0
    first, beyond, first_entries, beyond_entries = 1, UNBOUNDED, 1, UNBOUNDED
    for step in steps:
        i = step if step >= 0 else -1 - step
        key = keys[i]
        if step >= 0:
            if newer[key] < 0:
                hits[i] = repeats[i]
                continue
            hits[i] = True
            newer[older[key]], older[newer[key]] = newer[key], older[key]
        else:
            if hits[i] or newer[key] >= 0:
                continue
            size = sizes[i]
            if size > bound:
                beyond = min(beyond, size)
                continue
            while filled + size > bound or entries + 1 > most_entries:
                if filled + size > bound:
                    beyond = min(beyond, filled + size)
                else:
                    first = max(first, filled + size)
                if entries + 1 > most_entries:
                    beyond_entries = min(beyond_entries, entries + 1)
                else:
                    first_entries = max(first_entries, entries + 1)
                victim = newer[most]
                newer[most] = newer[victim]
                older[newer[victim]] = most
                newer[victim] = -1
                filled -= size_of[victim]
                entries -= 1
                evictions += 1
            filled += size
            entries += 1
            first, first_entries = max(first, filled), max(first_entries, entries)
            size_of[key] = size
        newer[key], older[key] = most, older[most]
        newer[older[most]] = key
        older[most] = key
    return hits, evictions, first, beyond, first_entries, beyond_entries
