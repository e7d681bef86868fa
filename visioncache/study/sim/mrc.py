"""Miss-ratio curves of LRU: exact in one pass (Mattson), or estimated from a sample (SHARDS)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from visioncache.study.sim.distances import NEVER_BEFORE, lru_distances
from visioncache.study.sim.order import is_one_by_one
from visioncache.study.sim.outcome import Asked
from visioncache.study.sim.recency import Recency
from visioncache.study.sim.shards import estimate
from visioncache.study.trace.errors import TraceError
from visioncache.study.trace.lookups import requests
from visioncache.study.trace.provenance import about
from visioncache.study.trace.sample import sample_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from visioncache.study.trace.traces import TraceLike

By = Literal["entries", "bytes"]

REPLAYED = 5_000_000
"""Look-ups that all capacities of a curve together are replayed through, at most."""

POINTS = 200
"""Number of capacities of a curve when none are named."""


def miss_ratio_curve(
    trace: TraceLike,
    by: By = "entries",
    *,
    capacities: Sequence[int] | None = None,
    sample: float | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Compute LRU's miss ratio over capacity: columns `capacity`, `miss_ratio`, `error`, `low`, `high`.

    Exact, as the cache behaves: a value larger than the whole capacity is never stored, and what a request
    missed is stored after all of its look-ups. A long trace (of more than 25,000 look-ups, at 200 points) is
    taken look-up by look-up, which tells more misses where a cache can't hold a request. With `sample`,
    estimated from that share of the keys (SHARDS, Waldspurger et al., FAST 2015, with its correction of
    the rate), which is drawn while the trace is read; `error` is the standard error, `low` and `high` a
    95 % interval (see `estimate`).

    Args:
        trace: a trace; at least `key` and `nbytes`.
        by: whether capacity is in entries or in bytes.
        capacities: where to tell it; by default up to 200 points to the working set (with `sample`, an
            estimate of it), and beyond the last of them nothing changes.
        sample: the share of keys to look at, above 0 and below 1; None for all.
        seed: chooses which.

    Raises:
        TraceError: the trace can't be read, has no requests, or too few keys for the sample.
        ValueError: `by` or `sample` is out of range.
    """
    if sample is None:
        asked = requests(trace, ("time", "seconds", "request"))
        look_ups = asked_in(asked, by)
        keys, sizes = look_ups.keys, look_ups.sizes
        points = default_capacities(keys, sizes, by) if capacities is None else as_points(capacities)
        if is_one_by_one(look_ups.requests) or len(points) * len(keys) > REPLAYED:
            ratio = exact(keys, sizes, points)
        else:
            recency = Recency(look_ups)
            ratio = np.array([1.0 - recency.run(point).outcome.hits.mean() for point in points])
        found = {"miss_ratio": ratio, "error": np.zeros(len(points)), "low": ratio, "high": ratio}
    elif 0 < sample < 1:
        drawn = sample_of(trace, sample, seed)
        asked = drawn.asked
        keys, sizes = arrays_of(asked, by)
        points = default_capacities(keys, sizes, by, sample) if capacities is None else as_points(capacities)
        found = estimate(keys, sizes, drawn.place, points, drawn.lookups, sample)
    else:
        raise ValueError(f"sample={sample!r}: a share above 0 and below 1 (None for all)")
    curve = pd.DataFrame({"capacity": points, **found})
    curve.attrs.update(about(asked, by=by, sample=sample, seed=seed))
    return curve


def as_points(capacities: Sequence[int]) -> NDArray[np.int64]:
    """Give capacities as an array; ValueError for one below 1 or for none at all."""
    points = np.asarray(capacities, np.int64)
    if not len(points) or points.min() < 1:
        raise ValueError(f"capacities={list(capacities)!r}: each is at least 1, and there is at least one")
    return points


def as_arrays(trace: TraceLike, by: By) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give a trace's look-ups as small integers, and the size of each; TraceError when there are none."""
    return arrays_of(requests(trace), by)


def arrays_of(asked: pd.DataFrame, by: By) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Do as `as_arrays`, for what `requests` returned."""
    if by not in {"entries", "bytes"}:
        raise ValueError(f"by={by!r}; there are: 'entries', 'bytes'")
    if asked.empty:
        unsized = asked.attrs.get("unsized", 0)
        raise TraceError(
            f"no event tells how many bytes images have; look-ups left out: {unsized}"
            if unsized
            else "the trace has no look-ups"
        )
    sizes = asked["nbytes"].to_numpy(np.int64) if by == "bytes" else np.ones(len(asked), np.int64)
    return asked["image"].to_numpy(np.int64), sizes


def asked_in(found: pd.DataFrame, by: By) -> Asked:
    """Give what a policy is given, of what `requests` returned."""
    keys, sizes = arrays_of(found, by)
    return Asked(keys, sizes, found["seconds"].to_numpy(np.float64), found["batch"].to_numpy(np.int64))


def default_capacities(
    keys: NDArray[np.int64], sizes: NDArray[np.int64], by: By, rate: float = 1.0
) -> NDArray[np.int64]:
    """Space capacities evenly up to the working set; in bytes, from the largest value."""
    _, first = np.unique(keys, return_index=True)
    least = int(sizes.max()) if by == "bytes" else 1
    working_set = max(round(int(sizes[first].sum()) / rate), least)
    return np.unique(np.linspace(least, working_set, POINTS).round().astype(np.int64))


def exact(
    keys: NDArray[np.int64], sizes: NDArray[np.int64], capacities: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Compute LRU's miss ratio at each capacity."""
    hits = np.zeros(len(capacities))
    distinct = np.unique(sizes)
    # A value that is too large to be stored pushes no other out: each set of values that some capacity can
    # store has a pass of its own.
    storing = np.searchsorted(distinct, capacities, side="right")
    for count in np.unique(storing[storing > 0]):
        here = storing == count
        stored = sizes <= distinct[count - 1]
        distances = np.sort(lru_distances(keys[stored], sizes[stored]))
        most = np.minimum(capacities[here], NEVER_BEFORE - 1)  # a first look hits in no cache
        hits[here] = np.searchsorted(distances, most, side="right")
    return 1.0 - hits / len(keys)
