"""Capacities of a replay: the usual ones, shares of the working set, or those that a user names."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from visioncache.sizes import parse_size
from visioncache.study.sim.mrc import By, as_arrays
from visioncache.study.trace.errors import TraceError
from visioncache.study.trace.lookups import MOST_IN_ALL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from visioncache.study.trace.traces import TraceLike

MOST = 7
"""Capacities of a replay for which none are named: a table of them is as wide as a terminal."""
STEP = 1.1
"""The least ratio of one of them to the one before."""


def usual_capacities(trace: TraceLike, by: By) -> list[int]:
    """Give a few capacities, from the largest entry of a trace to all its entries, at equal ratios.

    A smaller one would be too small for an image, and a larger one hits no more.
    """
    keys, sizes = as_arrays(trace, by)
    whole = _working_set(keys, sizes)
    largest = int(sizes.max())
    steps = min(MOST - 1, int(math.log(whole / largest, STEP)))
    between = {round(largest * (whole / largest) ** (step / steps)) for step in range(1, steps)}
    return sorted({largest, *between, whole}) if steps else [whole]


def working_set_shares(trace: TraceLike, by: By, shares: Sequence[float]) -> list[int]:
    """Give capacities that are shares of all that a trace asks for, at least 1; ValueError for no share."""
    if wrong := [share for share in shares if not 0 < share < np.inf]:
        raise ValueError(f"{wrong[0]:.0%} of the working set: a share is above 0")
    whole = _working_set(*as_arrays(trace, by))
    return sorted({max(round(whole * share), 1) for share in shares})


def capacities_in(capacities: Sequence[int | str], by: By) -> list[int]:
    """Give capacities as sorted integers; ValueError for one that is none."""
    sizes = [parse_size(c) if by == "bytes" else _entries(c) for c in capacities]
    if not sizes or min(sizes) < 1 or max(sizes) > MOST_IN_ALL:
        raise ValueError(
            f"capacities={list(capacities)!r}: each is from 1 to 2**62, and there is at least one"
        )
    return sorted(set(sizes))


def _entries(capacity: int | str) -> int:
    """Give a capacity in entries; ValueError for one that is no whole number."""
    try:
        number = float(capacity)
    except ValueError:
        number = math.nan
    if not number.is_integer():
        raise ValueError(f"capacity {capacity!r}: a whole number of entries, or a share like 20%")
    return int(number)


def _working_set(keys: NDArray[np.int64], sizes: NDArray[np.int64]) -> int:
    """Add up the sizes of all that is asked for, each once."""
    _, first = np.unique(keys, return_index=True)
    whole = int(sizes[first].sum())
    if not whole:
        raise TraceError(
            "every value has 0 bytes, and a share of nothing is no capacity; count entries instead"
        )
    return whole
