"""Small traces, and policies written the slow and plain way, for tests to compare with."""

from __future__ import annotations

import os
from collections import OrderedDict
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Sequence


WHOLE = bool(os.environ.get("VISIONCACHE_WHOLE"))
"""Set where comparisons with slow truths run as a whole (`make equality`) and not as a sample of it."""


def examples(sample: int) -> int:
    """Give how many made-up traces a comparison is of."""
    return 40 * sample if WHOLE else sample


HAS_LIBCACHESIM = find_spec("libcachesim") is not None
needs_libcachesim = pytest.mark.skipif(not HAS_LIBCACHESIM, reason="libcachesim has no wheel here")


@st.composite
def traces(draw: st.DrawFn, *, keys: int = 8, length: int = 60, size: int = 9) -> pd.DataFrame:
    """Requests for a few keys, each with its own size and cost."""
    asked = draw(st.lists(st.integers(0, keys - 1), min_size=1, max_size=length))
    sizes = draw(st.lists(st.integers(1, size), min_size=keys, max_size=keys))
    costs = draw(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, 4.0]), min_size=keys, max_size=keys))
    return frame(asked, [sizes[key] for key in asked], [costs[key] for key in asked])


def frame(asked: Sequence[int], sizes: Sequence[int], costs: Sequence[float] | None = None) -> pd.DataFrame:
    """A trace of requests."""
    seconds = [1.0] * len(asked) if costs is None else costs
    return pd.DataFrame({"key": [f"k{key}" for key in asked], "nbytes": sizes, "seconds": seconds})


def slow_lru(asked: Sequence[object], sizes: Sequence[int], capacity: int) -> list[bool]:
    """Which requests hit in an LRU cache, step by step."""
    held: OrderedDict[object, int] = OrderedDict()
    hits = []
    for key, size in zip(asked, sizes, strict=True):
        hits.append(key in held)
        if key in held:
            held.move_to_end(key)
        elif size <= capacity:
            while sum(held.values()) + size > capacity:
                held.popitem(last=False)
            held[key] = size
    return hits


def best_possible(
    asked: Sequence[object], sizes: Sequence[int], worth: Sequence[float], capacity: int
) -> float:
    """The most that any eviction and admission can save, by trying every one."""
    size = dict(zip(asked, sizes, strict=True))

    @cache
    def most(at: int, held: frozenset[object]) -> float:
        if at == len(asked):
            return 0.0
        saved = worth[at] if asked[at] in held else 0.0
        may = held | {asked[at]}
        keep = [subset for subset in subsets(may) if sum(size[key] for key in subset) <= capacity]
        return saved + max(most(at + 1, subset) for subset in keep)

    @cache
    def subsets(held: frozenset[object]) -> list[frozenset[object]]:
        found = [frozenset[object]()]
        for key in held:
            found += [subset | {key} for subset in found]
        return found

    return most(0, frozenset())


def as_ints(trace: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """A trace's keys as integers, and its sizes."""
    return pd.factorize(trace["key"])[0].astype(np.int64), trace["nbytes"].to_numpy(np.int64)
