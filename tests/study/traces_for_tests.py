"""Small traces, and policies written the slow and plain way, for tests to compare with."""

from __future__ import annotations

import os
from collections import OrderedDict
from functools import cache
from importlib.util import find_spec
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from hypothesis import strategies as st

from visioncache.study.sim.mrc import asked_in
from visioncache.study.trace.lookups import requests

if TYPE_CHECKING:
    from collections.abc import Sequence

    from visioncache.study.sim.mrc import By
    from visioncache.study.sim.outcome import Asked
    from visioncache.study.trace.traces import TraceLike


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


@st.composite
def by_requests(draw: st.DrawFn, *, apart: bool = False, **options: int) -> pd.DataFrame:
    """Requests of some look-ups each, of which some are for the same; with `apart`, several at a time."""
    trace = draw(traces(**options))
    numbers = draw(
        st.lists(st.integers(0, max(len(trace) // 2, 1)), min_size=len(trace), max_size=len(trace))
    )
    return trace.assign(request=numbers if apart else sorted(numbers))


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


def best_possible(trace: pd.DataFrame, sizes: Sequence[int], worth: Sequence[float], capacity: int) -> float:
    """The most that any eviction and admission after each request can save, by trying every one."""
    asked = trace["key"].tolist()
    size = dict(zip(asked, sizes, strict=True))
    named = trace["request"].tolist() if "request" in trace else range(len(asked))
    places = [[*group] for _, group in groupby(range(len(asked)), key=named.__getitem__)]

    @cache
    def most(at: int, held: frozenset[object]) -> float:
        if at == len(places):
            return 0.0
        may, saved = held, 0.0
        for place in places[at]:
            saved += worth[place] if asked[place] in may else 0.0  # a request encodes an image once
            may |= {asked[place]}
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


def asked_of(trace: TraceLike, by: By = "bytes") -> Asked:
    """A trace's look-ups, as policies are given them."""
    return asked_in(requests(trace), by)
