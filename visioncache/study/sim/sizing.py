"""How large a cache should be: the smallest that would have reached a hit ratio on a trace."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from visioncache.sizes import format_size
from visioncache.study.sim.distances import NEVER_BEFORE, lru_distances
from visioncache.study.sim.mrc import arrays_of
from visioncache.study.sim.optimum import reusable
from visioncache.study.trace.lookups import requests

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
        text = f"with {format_size(self.max_bytes)} you would have hit {self.hit_ratio:.0%}"
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
    asked = requests(trace)
    keys, sizes = arrays_of(asked, "bytes")
    again = reusable(keys)
    ceiling = int(again.sum())
    wanted = min(math.ceil(target * len(keys)), ceiling)
    best, chosen = 1, np.zeros(len(keys), np.bool_)
    if wanted:
        best = _smallest(keys, sizes, wanted)
        stored = np.flatnonzero(sizes <= best)
        chosen[stored] = lru_distances(keys[stored], sizes[stored]) <= best
    seconds = float(asked["seconds"].to_numpy()[chosen].sum())
    return Recommendation(best, float(chosen.mean()), target, ceiling / len(keys), seconds)


def _smallest(keys: NDArray[np.int64], sizes: NDArray[np.int64], wanted: int) -> int:
    """Find the smallest capacity in which `wanted` look-ups hit, of all that a cache can have.

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
