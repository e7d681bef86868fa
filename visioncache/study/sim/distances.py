"""LRU distances: the smallest capacity in which each look-up hits, of all look-ups in one pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from visioncache.study.sim.compiled import COMPILED_FROM, compiled, has_numba
from visioncache.study.sim.optimum import previous_use

if TYPE_CHECKING:
    from numpy.typing import NDArray

NEVER_BEFORE = np.iinfo(np.int64).max
"""The distance of a first look-up: no capacity makes it a hit."""


def lru_distances(keys: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Find the smallest LRU capacity in which each look-up hits; `NEVER_BEFORE` for a first one.

    That is the size of all different values asked for since the look-up before for the same key, its
    own included (Mattson, Gecsei, Slutz and Traiger, 1970).

    Args:
        keys: what is asked for, as integers from 0.
        sizes: of each look-up's value, the same for the same key (ones: distances in entries).
    """
    if len(keys) < COMPILED_FROM or not has_numba():
        return _by_merging(keys, sizes)
    distances: NDArray[np.int64] = compiled(_one_pass, len(keys))(keys, sizes, int(keys.max()) + 1)
    return distances


def _by_merging(keys: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Find them with numpy alone.

    A value counts where it first appears after the look-up before, `p`, and it does so at `j` if the
    look-up before `j` was not after `p`: so the distance is what lies before `i` with a rank (by previous
    use) no higher than its own, less everything up to `p`.
    """
    before = previous_use(keys)
    again = before >= 0
    through = np.cumsum(sizes)
    distance = np.full(len(keys), NEVER_BEFORE, np.int64)
    below = weight_below(np.argsort(before, kind="stable"), sizes)
    distance[again] = below[again] - through[before[again]] + sizes[again]
    return distance


def weight_below(order: NDArray[np.int64], weights: NDArray[np.int64]) -> NDArray[np.int64]:
    """Add up, for every position, the weights of the earlier positions that come before it in `order`.

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


def _one_pass(keys: Any, sizes: Any, most: int) -> Any:  # noqa: C901  # one loop, compiled
    """Find them in one pass: a Fenwick tree holds each value's size at the slot of its latest look-up.

    The tree has two slots a key. When they are used up, the latest look-ups are moved together in their
    order (Bennett and Kruskal, 1975, with compaction), so the tree stays small however long the trace.
    """
    slots = 2 * most + 2
    tree = np.zeros(slots + 1, np.int64)
    latest = np.zeros(most, np.int64)  # by key: its slot, from 1; 0 for none yet
    owner = np.zeros(slots + 1, np.int64)  # by slot: its key + 1; 0 for none
    weight = np.zeros(most, np.int64)  # by key
    distance = np.empty(len(keys), np.int64)
    total, now = np.int64(0), 0
    for i in range(len(keys)):
        key, size = keys[i], sizes[i]
        if now == slots:
            now = 0
            tree[:] = 0
            for slot in range(1, slots + 1):
                moved = owner[slot]
                owner[slot] = 0
                if moved:
                    now += 1
                    owner[now], latest[moved - 1], tree[now] = moved, now, weight[moved - 1]
            for slot in range(1, slots + 1):
                above = slot + (slot & -slot)
                if above <= slots:
                    tree[above] += tree[slot]
        slot = latest[key]
        if slot:
            earlier, at = np.int64(0), slot
            while at:
                earlier += tree[at]
                at -= at & -at
            distance[i] = total - earlier + size
            owner[slot] = 0
            at = slot
            while at <= slots:
                tree[at] -= size
                at += at & -at
        else:
            distance[i] = NEVER_BEFORE
            total += size
        now += 1
        owner[now], latest[key], weight[key] = key + 1, now, size
        at = now
        while at <= slots:
            tree[at] += size
            at += at & -at
    return distance
