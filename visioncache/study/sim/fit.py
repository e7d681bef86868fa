"""Fit: how far a made trace is from the one that it imitates, in what decides hit ratios."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from visioncache.study.sim.distances import NEVER_BEFORE, lru_distances
from visioncache.study.sim.mrc import arrays_of, exact
from visioncache.study.trace.lookups import requests

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from visioncache.study.trace.traces import TraceLike


class Look(NamedTuple):
    """A trace as a cache sees it."""

    popularity: NDArray[np.float64]
    """Look-ups of each image, most first, as shares of all."""
    reuse: NDArray[np.float64]
    """LRU distance of each look-up in entries, as a share of the images; inf for a first one."""
    sizes: NDArray[np.float64]
    """Bytes of each image."""
    sessions: NDArray[np.float64]
    """Look-ups of each session."""
    curve: NDArray[np.float64]
    """LRU's miss ratio at each of `SHARES` of the working set's bytes."""


SHARES = np.linspace(0.01, 1.0, 100)


def look_of(trace: TraceLike) -> Look:
    """Describe a trace; TraceError when it has no look-ups."""
    asked = requests(trace)
    keys, nbytes = arrays_of(asked, "bytes")
    counts = np.sort(np.bincount(keys))[::-1]
    distance = lru_distances(keys, np.ones_like(keys))
    sizes = asked.drop_duplicates("image")["nbytes"].to_numpy(np.float64)
    points = np.maximum((SHARES * sizes.sum()).astype(np.int64), 1)
    return Look(
        counts / counts.sum(),
        np.where(distance == NEVER_BEFORE, np.inf, distance / len(sizes)),
        np.sort(sizes),
        np.sort(asked.groupby(asked["session"].astype("string").fillna("")).size().to_numpy(np.float64)),
        exact(keys, nbytes, points),
    )


def fit_error(trace: TraceLike, made: TraceLike) -> dict[str, float]:
    """Compare two traces: the largest difference of each distribution and of the curve, from 0 to 1.

    `popularity`: of the share of look-ups that the most popular images have, by their share of images.
    `reuse`, `sizes`, `sessions`: of cumulative distributions (Kolmogorov and Smirnov's). `curve`: of LRU's
    miss ratios at the same shares of the working set.
    """
    one, other = look_of(trace), look_of(made)
    ranks = np.linspace(0.0, 1.0, 201)
    told, imitated = (
        np.interp(ranks, np.linspace(0, 1, len(p) + 1), np.r_[0, np.cumsum(p)])
        for p in (one.popularity, other.popularity)
    )
    return {
        "popularity": float(np.abs(told - imitated).max()),
        "reuse": _furthest(one.reuse, other.reuse),
        "sizes": _furthest(one.sizes, other.sizes),
        "sessions": _furthest(one.sessions, other.sessions),
        "curve": float(np.abs(one.curve - other.curve).max()),
    }


def _furthest(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Give the largest difference of two empirical distributions."""
    points = np.unique(np.r_[one, other])
    shares = [np.searchsorted(np.sort(values), points, side="right") / len(values) for values in (one, other)]
    return float(np.abs(shares[0] - shares[1]).max())
