"""SHARDS: LRU's miss ratios estimated from the look-ups of a sample of keys, with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from visioncache.study.sim.distances import NEVER_BEFORE, lru_distances

if TYPE_CHECKING:
    from numpy.typing import NDArray

GROUPS = 20
"""Parts of the sample that are left out in turn."""

T_95 = 2.093
"""Two-sided 95 % quantile of Student's t with GROUPS - 1 degrees of freedom."""


def estimate(
    keys: NDArray[np.int64],
    sizes: NDArray[np.int64],
    place: NDArray[np.float64],
    capacities: NDArray[np.int64],
    lookups: float,
    rate: float,
) -> dict[str, NDArray[np.float64]]:
    """Estimate miss ratios and their errors from a sample (SHARDS-adj, Waldspurger et al., FAST 2015).

    The error has two parts, added as squares. One is the jackknife's: how the estimate moves when a
    twentieth of the sample is left out. It can't see popular keys that the sample has none of; those show
    as look-ups that are missing from it, which SHARDS-adj takes for hits at any capacity. So what taking
    them for look-ups like the others would change is the other part.

    Args:
        keys: of the sample's look-ups, as small integers.
        sizes: of each look-up's value.
        place: where each key's hash lies, from 0 to the rate.
        capacities: where to tell the ratio.
        lookups: of the whole trace.
        rate: the share of keys in the sample.

    Returns:
        `miss_ratio`, `error` (standard), `low` and `high` (95 %), each an array over capacities.
    """
    group = np.minimum((place / rate * GROUPS).astype(np.int64), GROUPS - 1)
    whole = _misses(keys, sizes, capacities, rate) / (lookups * rate)
    without = np.array(
        [
            _misses(keys[kept], sizes[kept], capacities, rate * (GROUPS - 1) / GROUPS)
            / (lookups * rate * (GROUPS - 1) / GROUPS)
            for kept in (group != left_out for left_out in range(GROUPS))
        ]
    )
    moved = (GROUPS - 1) / GROUPS * ((without - without.mean(axis=0)) ** 2).sum(axis=0)
    unseen = np.abs(whole * (lookups * rate / len(keys) - 1.0))
    half = np.hypot(T_95 * np.sqrt(moved), unseen)
    ratio = whole.clip(0.0, 1.0)
    return {
        "miss_ratio": ratio,
        "error": half / T_95,
        "low": (ratio - half).clip(0.0, 1.0),
        "high": (ratio + half).clip(0.0, 1.0),
    }


def _misses(
    keys: NDArray[np.int64], sizes: NDArray[np.int64], capacities: NDArray[np.int64], rate: float
) -> NDArray[np.float64]:
    """Count the sample's misses at each capacity: what others take of it scales up, its own size doesn't."""
    if not len(keys):
        return np.zeros(len(capacities))
    distance = lru_distances(keys, sizes)
    first = distance == NEVER_BEFORE
    scaled = np.where(first, np.inf, (np.where(first, 0, distance) - sizes) / rate + sizes)
    scaled.sort()
    misses: NDArray[np.float64] = len(keys) - np.searchsorted(scaled, capacities, side="right").astype(float)
    return misses
