"""Replaying a trace under many policies and capacities, beside what no policy can beat."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from tqdm import tqdm

from visioncache.sizes import parse_size
from visioncache.study.sim.mrc import By, as_arrays
from visioncache.study.sim.optimum import belady, most_saved, reusable
from visioncache.study.sim.outcome import Asked
from visioncache.study.sim.policies import POLICIES, available, run_policy
from visioncache.study.trace.lookups import requests

if TYPE_CHECKING:
    from collections.abc import Sequence

    from visioncache.study.trace.traces import TraceLike

SHARES = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9, 1.1)
"""Capacities of a replay for which none are named, as shares of the working set."""

REFERENCES = ("belady", "bound", "floor")
"""Belady's MIN (by entries), the bound on what any policy can save, and a cache without bounds."""


def replay(
    trace: TraceLike,
    policies: str | Sequence[str] | None = None,
    capacities: int | str | Sequence[int | str] | None = None,
    by: By = "bytes",
    *,
    references: bool = True,
    progress: bool = False,
) -> pd.DataFrame:
    """What each policy makes of a trace at each capacity; a row a policy and capacity.

    Columns: `policy`, `capacity`, `hit_ratio` (of requests), `byte_hit_ratio` (of bytes asked for),
    `seconds_saved` (encode seconds of the hits), `evictions`, `encodes` (misses). The references are
    rows too: "belady" only by entries, where it is the best that can be done; "bound" is above what
    any policy reaches in that column, each column on its own; "floor" is a cache that never evicts, so
    1 - its hit ratio is the compulsory misses. A policy that a capacity is too small for has NaN there.

    Args:
        trace: a trace; at least `key` and `nbytes`.
        policies: one or more names from `POLICIES`; by default all that can run here.
        capacities: in entries, or in bytes (numbers or "1.5 GiB"); by default from 2 % to 110 % of the
            working set.
        by: whether capacity is in entries or in bytes.
        references: whether to add their rows.
        progress: show a bar on stderr.

    Raises:
        TraceError: the trace can't be read or has no requests.
        ValueError: an unknown policy, or a capacity that is none.
        MissingExtraError: a policy was named that needs an extra.
    """
    asked = requests(trace)
    keys, sizes = as_arrays(asked, by)
    run = Asked(keys, sizes, asked["seconds"].to_numpy(np.float64))
    worth = {
        "hit_ratio": np.full(len(keys), 1.0 / len(keys)),
        "byte_hit_ratio": asked["nbytes"].to_numpy(np.float64) / max(int(asked["nbytes"].sum()), 1),
        "seconds_saved": run.seconds,
    }
    names = available() if policies is None else [policies] if isinstance(policies, str) else list(policies)
    if unknown := [name for name in names if name not in POLICIES]:
        raise ValueError(f"no policy {', '.join(map(repr, unknown))}; there are: {', '.join(POLICIES)}")
    if isinstance(capacities, (int, str)):
        capacities = [capacities]
    bounds = working_set_shares(asked, by) if capacities is None else capacities_in(capacities, by)
    extra = [name for name in REFERENCES if name != "belady" or by == "entries"] if references else []
    rows = []
    with tqdm(total=len(bounds) * (len(names) + len(extra)), file=sys.stderr, disable=not progress) as bar:
        for name in [*names, *extra]:
            for capacity in bounds:
                bar.set_description(name)
                rows.append({"policy": name, "capacity": capacity, **_row(name, run, capacity, worth)})
                bar.update()
    table = pd.DataFrame(rows)
    table["encodes"] = ((1.0 - table["hit_ratio"]) * len(keys)).round()
    return table


def working_set_shares(trace: TraceLike, by: By = "bytes", shares: Sequence[float] = SHARES) -> list[int]:
    """Capacities that are shares of all that a trace ever asks for, at least 1; ValueError for no share."""
    if wrong := [share for share in shares if not 0 < share < np.inf]:
        raise ValueError(f"{wrong[0]:.0%} of the working set: a share is above 0")
    keys, sizes = as_arrays(trace, by)
    _, first = np.unique(keys, return_index=True)
    whole = int(sizes[first].sum())
    return sorted({max(round(whole * share), 1) for share in shares})


def capacities_in(capacities: Sequence[int | str], by: By) -> list[int]:
    """Capacities as sorted integers; ValueError for one that is none."""
    sizes = [parse_size(c) if by == "bytes" else int(c) for c in capacities]
    if not sizes or min(sizes) < 1:
        raise ValueError(f"capacities={list(capacities)!r}: each is at least 1, and there is at least one")
    return sorted(set(sizes))


def _row(
    name: str, asked: Asked, capacity: int, worth: dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]]
) -> dict[str, float]:
    if name == "bound":
        return {
            column: most_saved(asked.keys, asked.sizes, value, capacity) for column, value in worth.items()
        } | {"evictions": np.nan}
    if name == "floor":
        hits, evictions = reusable(asked.keys), 0.0
    elif name == "belady":
        hits, evictions = belady(asked.keys, capacity)
    else:
        try:
            hits, evictions = run_policy(name, asked, capacity)
        except ValueError:
            return dict.fromkeys([*worth, "evictions"], np.nan)
    return {column: float(value[hits].sum()) for column, value in worth.items()} | {"evictions": evictions}
