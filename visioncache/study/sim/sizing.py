"""How large a cache should be: the smallest that hits often enough on a trace, and that hits all it can."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from visioncache.sizes import count, format_size, parse_size
from visioncache.study.sim.distances import NEVER_BEFORE, lru_distances
from visioncache.study.sim.mrc import By, asked_in
from visioncache.study.sim.order import is_one_by_one
from visioncache.study.sim.policies import lru
from visioncache.study.sim.recency import Recency
from visioncache.study.trace.lookups import requests

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from visioncache.study.sim.outcome import Asked
    from visioncache.study.trace.traces import TraceLike


@dataclass(frozen=True)
class Recommendation:
    """The smallest `max_bytes` that would have done, and what it would have brought."""

    max_bytes: int
    hit_ratio: float
    target: float
    ceiling: float
    """The hit ratio of a cache without bounds: first looks always miss."""
    seconds_saved: float
    """Encode seconds of its hits."""

    @property
    def reached(self) -> bool:
        """Tell whether any cache reaches the target."""
        return self.hit_ratio >= self.target

    def __str__(self) -> str:
        if not self.ceiling:
            return "no cache would have hit: every look-up was a first one"
        text = f"with {_rounded_up(self.max_bytes)} you would have hit {self.hit_ratio:.0%}"
        if self.seconds_saved:
            text += f" and saved {self.seconds_saved:.3g} s of encoding"
        if not self.reached:
            text += f"; no cache reaches {self.target:.0%}, for the rest were first looks"
        return text


def recommend(trace: TraceLike, target: float = 0.9) -> Recommendation:
    """The smallest `max_bytes` with which an LRU cache would have hit a share of a trace's look-ups.

    Where first looks alone keep any cache below the target, the smallest that hits all the others.

    Args:
        trace: a trace, or `cache.events`.
        target: the hit ratio to reach, above 0 and at most 1.

    Raises:
        TraceError: the trace can't be read or has no look-ups.
        ValueError: a target that is no such share.
    """
    if not isinstance(target, (int, float)) or not 0 < target <= 1:
        raise ValueError(f"target={target!r}: a hit ratio is above 0 and at most 1")
    look_ups = asked_in(requests(trace), "bytes")
    ceiling = _ceiling(look_ups)
    wanted = min(math.ceil(target * len(look_ups.keys)), ceiling)
    best = _smallest(look_ups, wanted) if wanted else 1
    chosen = lru(look_ups, best).hits
    seconds = float(look_ups.seconds[chosen].sum())
    return Recommendation(best, float(chosen.mean()), target, ceiling / len(chosen), seconds)


@dataclass(frozen=True)
class Enough:
    """Two capacities of an LRU cache: the smallest that hits nearly all it can, and that hits all it can."""

    by: By
    capacity: int
    """Hits a share of what any size can hit. Bytes are rounded up to three digits."""
    hit_ratio: float
    whole: int
    """Hits all that any size can hit."""
    ceiling: float
    """The hit ratio of an infinite cache: first looks always miss."""
    share: float

    def __str__(self) -> str:
        if not self.ceiling:
            return "no cache would have hit: every look-up was a first one"
        rest = "the rest are first looks"
        nearly, whole = self._told(self.capacity), self._told(self.whole)
        if self.capacity == self.whole:
            return (
                f"a cache of {whole} is enough for all hits that any size gives "
                f"({self.ceiling:.0%} of look-ups; {rest})"
            )
        return (
            f"a cache of {nearly} is enough for {self.share:.0%} of the hits that any size "
            f"gives ({self.hit_ratio:.0%} of look-ups); beyond {whole} nothing more is hit "
            f"({self.ceiling:.0%}; {rest})"
        )

    def _told(self, capacity: int) -> str:
        if self.by == "entries":
            return count(capacity, "entry", "entries")
        text = _rounded_up(capacity)
        return text if parse_size(text) == capacity else f"{capacity} B"


def enough(trace: TraceLike, by: By = "bytes", share: float = 0.95) -> Enough:
    """Find how large an LRU cache must be to hit nearly all that any size hits, and all of it.

    `print(enough(trace))` is one line, with which `visioncache simulate` ends.

    Args:
        trace: a trace, or `cache.events`.
        by: whether capacity is in bytes or in entries.
        share: how much is nearly all, above 0 and at most 1.

    Raises:
        TraceError: the trace can't be read or has no look-ups.
        ValueError: `by` or `share` is out of range.
    """
    if not isinstance(share, (int, float)) or not 0 < share <= 1:
        raise ValueError(f"share={share!r}: a share is above 0 and at most 1")
    look_ups = asked_in(requests(trace), by)
    ceiling = _ceiling(look_ups)
    wanted = math.ceil(share * ceiling)
    capacity, whole = (_in_three_digits(look_ups, hits, by) if hits else 1 for hits in (wanted, ceiling))
    ratio = float(lru(look_ups, capacity).hits.mean())
    return Enough(by, capacity, ratio, whole, ceiling / len(look_ups.keys), share)


def _rounded_up(size: int) -> str:
    """Write bytes in three digits, and no fewer than they are: who types them has room."""
    for text in (format_size(size), format_size(1.01 * size)):
        if "," not in text and parse_size(text) >= size:  # thousands of TiB have commas, which no size has
            return text
    return f"{size} B"


def _ceiling(asked: Asked) -> int:
    """Count the look-ups that hit in a cache without bounds."""
    return int(lru(asked, NEVER_BEFORE - 1).hits.sum())


def _in_three_digits(asked: Asked, wanted: int, by: By) -> int:
    """Find the smallest capacity in which `wanted` look-ups hit; bytes as few digits, if as many hit then."""
    least = _smallest(asked, wanted)
    if by == "bytes":
        told = parse_size(_rounded_up(least))
        if lru(asked, told).hits.sum() >= wanted:  # a larger value may be stored now, and push others out
            return told
    return least


def _smallest(asked: Asked, wanted: int) -> int:
    """Find the smallest capacity in which `wanted` look-ups hit.

    Where requests have several look-ups, no distance tells it: then it is one in which so many hit, and one
    less is not enough.
    """
    found = _smallest_by_distance(asked.keys, asked.sizes, wanted)
    if is_one_by_one(asked.requests):
        return found

    recency = Recency(asked)
    is_enough = recency.run(found).outcome.hits.sum() >= wanted
    return recency.smallest_size(wanted, 0, found if is_enough else max(int(asked.sizes.sum()), 1))


def _smallest_by_distance(keys: NDArray[np.int64], sizes: NDArray[np.int64], wanted: int) -> int:
    """Find it where each look-up is a request of its own, of all capacities that a cache can have.

    A cache smaller than some values never stores them, and they are not there to push others out: so
    there is a curve for each largest value that is stored, and a larger cache may hit less. Ranges of
    largest values are halved; one is left out where even a cache that stores all of it, and lets only
    what is smaller push others out, hits less than is wanted.
    """
    distinct = np.unique(np.maximum(sizes, 1))
    beyond = np.append(distinct[1:], NEVER_BEFORE)  # where the next larger value is stored too
    ranges = [(0, len(distinct) - 1)]
    while ranges:
        low, high = ranges.pop()
        stored = np.flatnonzero(sizes <= distinct[high])
        if len(stored) < wanted:
            continue
        size = sizes[stored]
        counted = np.where(size <= distinct[low], size, 0)
        distance = lru_distances(keys[stored], counted)
        distance += np.where(distance == NEVER_BEFORE, 0, size - counted)
        needed = max(int(np.partition(distance, wanted - 1)[wanted - 1]), int(distinct[low]))
        if needed >= beyond[high]:
            continue
        if low == high:
            return needed
        middle = (low + high) // 2
        ranges += [(middle + 1, high), (low, middle)]
    raise AssertionError("a cache that holds everything hits all that can be hit")
