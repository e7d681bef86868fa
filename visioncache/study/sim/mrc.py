"""Miss-ratio curves of LRU: exact in one pass (Mattson), or estimated from a sample (SHARDS)."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from visioncache.study.sim.optimum import previous_use
from visioncache.study.trace.lookups import requests
from visioncache.study.trace.traces import TraceError, TraceLike

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

By = Literal["entries", "bytes"]

POINTS = 200
"""Capacities of a curve for which none are named."""

GROUPS = 8
"""Independent samples that the error of an estimate is told from."""

NEVER_BEFORE = np.iinfo(np.int64).max
"""The distance of a first request: no capacity makes it a hit."""


def lru_distances(keys: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """For every request, the smallest LRU capacity in which it hits; `NEVER_BEFORE` for a first one.

    That is the size of all different values asked for since the request before for the same key, its
    own included (Mattson, Gecsei, Slutz and Traiger, 1970). A value counts where it first appears
    after that request `p`, and it does so at `j` if the request before `j` was not after `p`: so the
    distance is what lies before `i` with a rank (by previous use) no higher than its own, less
    everything up to `p`. `weight_below` finds that for all requests together.

    Args:
        keys: what is asked for, as integers.
        sizes: of each request's value, the same for the same key (ones: distances in entries).
    """
    before = previous_use(keys)
    again = before >= 0
    through = np.cumsum(sizes)
    distance = np.full(len(keys), NEVER_BEFORE, np.int64)
    below = weight_below(np.argsort(before, kind="stable"), sizes)
    distance[again] = below[again] - through[before[again]] + sizes[again]
    return distance


def weight_below(order: NDArray[np.int64], weights: NDArray[np.int64]) -> NDArray[np.int64]:
    """For every position, the weight of the earlier positions that come before it in `order`.

    A merge sort run backwards, level by level and whole arrays at a time: at each level the positions
    lie in blocks, each block in the order given; what stands in its left half adds to what follows it
    in its right half, then the halves become blocks. O(n log n).
    """
    n = len(order)
    padded = 1 << max(n - 1, 1).bit_length()
    blocks = np.concatenate([order, np.arange(n, padded)]).reshape(1, -1)
    weight = np.concatenate([weights, np.zeros(padded - n, np.int64)])
    total = np.zeros(padded, np.int64)
    half = padded // 2
    while half:
        right = (blocks & half) != 0
        added = np.cumsum(np.where(right, 0, weight[blocks]), axis=None).reshape(blocks.shape)
        # Sums run on over the whole array: each block starts from what stood before it.
        started = np.concatenate([[0], added[:-1, -1]])[:, None]
        total[blocks[right]] += (added - started)[right]
        lefts, rights = blocks[~right].reshape(-1, half), blocks[right].reshape(-1, half)
        blocks = np.stack([lefts, rights], axis=1).reshape(-1, half)
        half //= 2
    return total[:n]


def miss_ratio_curve(
    trace: TraceLike,
    by: By = "entries",
    *,
    capacities: Sequence[int] | None = None,
    sample: float | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """LRU's miss ratio over capacity: columns `capacity`, `miss_ratio`, `error`.

    Exact, as the cache behaves: a value larger than the whole capacity is never stored. With `sample`,
    estimated from that share of the keys (SHARDS, Waldspurger et al., FAST 2015, with its correction
    of the rate) and `error` is the standard error, told from independent slices of the sample.

    Args:
        trace: a trace; at least `key` and `nbytes`.
        by: whether capacity is in entries or in bytes.
        capacities: where to tell it; by default up to 200 points to the working set, and beyond the
            last of them nothing changes.
        sample: the share of keys to look at, above 0 and below 1; None for all.
        seed: chooses which.

    Raises:
        TraceError: the trace can't be read, has no requests, or too few keys for the sample.
        ValueError: `by` or `sample` is out of range.
    """
    keys, sizes = as_arrays(trace, by)
    points = default_capacities(keys, sizes, by) if capacities is None else np.asarray(capacities, np.int64)
    if sample is None:
        ratio, error = exact(keys, sizes, points), np.zeros(len(points))
    elif 0 < sample < 1:
        ratio, error = _sampled(keys, sizes, points, sample, seed)
    else:
        raise ValueError(f"sample={sample!r}: a share above 0 and below 1 (None for all)")
    return pd.DataFrame({"capacity": points, "miss_ratio": ratio, "error": error})


def as_arrays(trace: TraceLike, by: By) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A trace's look-ups as small integers, and the size of each; TraceError when there are none."""
    if by not in {"entries", "bytes"}:
        raise ValueError(f"by={by!r}; there are: 'entries', 'bytes'")
    asked = requests(trace)
    if asked.empty:
        raise TraceError("the trace has no look-ups")
    keys = pd.factorize(asked["key"])[0].astype(np.int64)
    sizes = asked["nbytes"].to_numpy() if by == "bytes" else np.ones(len(keys), np.int64)
    return keys, sizes


def default_capacities(keys: NDArray[np.int64], sizes: NDArray[np.int64], by: By) -> NDArray[np.int64]:
    """Evenly spaced capacities up to the working set; in bytes, from the largest value."""
    _, first = np.unique(keys, return_index=True)
    least = int(sizes.max()) if by == "bytes" else 1
    working_set = max(int(sizes[first].sum()), least)
    return np.unique(np.linspace(least, working_set, POINTS).round().astype(np.int64))


def exact(
    keys: NDArray[np.int64], sizes: NDArray[np.int64], capacities: NDArray[np.int64]
) -> NDArray[np.float64]:
    """LRU's miss ratio at each capacity."""
    hits = np.zeros(len(capacities))
    bound = np.minimum(capacities, sizes.max())
    # Where some values are too large to be stored, they are not there to push others out.
    for largest in np.unique(bound):
        here = bound == largest
        stored = sizes <= largest
        distances = np.sort(lru_distances(keys[stored], sizes[stored]))
        hits[here] = np.searchsorted(distances, capacities[here], side="right")
    return 1.0 - hits / len(keys)


def _sampled(
    keys: NDArray[np.int64],
    sizes: NDArray[np.int64],
    capacities: NDArray[np.int64],
    rate: float,
    seed: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    draw = np.random.default_rng(seed).random(int(keys.max()) + 1)[keys]
    whole = _one_sample(keys, sizes, capacities, rate, draw < rate)
    edges = np.linspace(0, rate, GROUPS + 1)
    slices = np.array(
        [
            _one_sample(keys, sizes, capacities, rate / GROUPS, (low <= draw) & (draw < high))
            for low, high in pairwise(edges)
        ]
    )
    return whole, slices.std(axis=0, ddof=1) / GROUPS**0.5


def _one_sample(
    keys: NDArray[np.int64],
    sizes: NDArray[np.int64],
    capacities: NDArray[np.int64],
    rate: float,
    chosen: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """SHARDS-adj: distances scale up by the rate; requests that a lucky draw misses count as hits."""
    if not chosen.any():
        raise TraceError(f"too few keys for a sample of {rate * GROUPS:g}; take a larger one, or none")
    distances = np.sort(lru_distances(keys[chosen], sizes[chosen]))
    # In doubles: a first request's distance has no larger integer.
    hits = np.searchsorted(distances / rate, capacities.astype(np.float64), side="right")
    expected = len(keys) * rate
    hits = hits + (expected - chosen.sum())
    ratio: NDArray[np.float64] = np.clip(1.0 - hits / expected, 0.0, 1.0)
    return ratio
