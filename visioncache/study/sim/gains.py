"""Gains: how much more one policy saves than another, over seeds and workloads, with intervals."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

import visioncache
from visioncache.study.sim.capacities import working_set_shares
from visioncache.study.sim.granularity import compare_granularity
from visioncache.study.sim.simulate import replay
from visioncache.study.trace.lookups import requests
from visioncache.study.trace.provenance import trace_digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RESAMPLES = 4000
SHARES = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9, 1.1)
"""Capacities of the published study, as shares of the working set."""


def policy_gains(
    traces: Mapping[str, Sequence[pd.DataFrame]],
    policies: Sequence[str],
    *,
    against: str = "lru",
    shares: Sequence[float] = SHARES,
) -> pd.DataFrame:
    """Compare policies with one of them, in points of the encode seconds that can be saved.

    Columns: `workload`, `seed`, `policy`, `share` (of the working set), `saved` (encode seconds, of
    those that a cache without bounds saves), `gain` (`saved` less that of `against`, in points); NaN
    where a capacity is too small for a policy.

    Args:
        traces: by workload, a trace a seed.
        policies: who is compared.
        against: with whom.
        shares: capacities, of each trace's working set in bytes.
    """
    rows = []
    for workload, seeded in traces.items():
        for seed, trace in enumerate(seeded):
            savable = float(trace["seconds"].sum() - trace.drop_duplicates("key")["seconds"].sum())
            bounds = working_set_shares(trace, "bytes", shares)
            table = replay(trace, [against, *policies], bounds, references=False)
            wide = table.pivot_table(index="capacity", columns="policy", values="seconds_saved", dropna=False)
            saved = wide / savable
            for share, (_, at) in zip(sorted(shares), saved.iterrows(), strict=True):
                rows += [(workload, seed, p, share, at[p], 100 * (at[p] - at[against])) for p in policies]
    table = pd.DataFrame(rows, columns=["workload", "seed", "policy", "share", "saved", "gain"])
    table.attrs.update(_about(traces, policies=[*policies], against=against, shares=[*shares]))
    return table


def granularity_gains(traces: Mapping[str, Sequence[pd.DataFrame]], shares: Sequence[float]) -> pd.DataFrame:
    """Compare an entry an image with an entry a request, in per cent of the latter's encodes (LRU).

    Columns: `workload`, `seed`, `share` (of the working set), `saved`.
    """
    rows = []
    for workload, seeded in traces.items():
        for seed, trace in enumerate(seeded):
            bounds = working_set_shares(trace, "bytes", shares)
            table = compare_granularity(trace, bounds, policy="lru")
            wide = table.pivot_table(index="capacity", columns="granularity", values="encodes")
            saved = 100 * (1 - wide["image"] / wide["request"])
            rows += [(workload, seed, *pair) for pair in zip(sorted(shares), saved, strict=True)]
    table = pd.DataFrame(rows, columns=["workload", "seed", "share", "saved"])
    table.attrs.update(_about(traces, policies=["lru"], shares=[*shares]))
    return table


def _about(traces: Mapping[str, Sequence[pd.DataFrame]], **parameters: Any) -> dict[str, Any]:
    """Describe a table over many traces: the version, each trace's digest, and parameters."""
    digests = {name: [trace_digest(requests(trace)) for trace in seeded] for name, seeded in traces.items()}
    return {"visioncache": visioncache.__version__, "traces": digests, **parameters}


def interval(
    table: pd.DataFrame, value: str, *, seed: int = 0, level: float = 0.95
) -> tuple[float, float, float]:
    """Give the mean of a value over workloads, each alike, and its bootstrap interval.

    Workloads are drawn with replacement, and seeds within each: what is told is how far the mean would
    move had other workloads of this kind been chosen, which moves it more than other seeds do. Percentiles
    of so few draws are too near to each other, so they are taken further out (Hesterberg, "What Teachers
    Should Know about the Bootstrap", 2015, section 5.3). Of nine workloads the 95 % interval then covers the
    mean in 94 % of samples where workloads are spread normally about it, and in 84 % where most gain nothing
    and a few much; without, in 89 % and 78 %.

    Args:
        table: `workload`, `seed` and the value; several rows of both are averaged.
        value: the column.
        seed: of the resampling.
        level: the share of samples whose interval should cover the mean: for k intervals that are looked at
            together, 1 - 0.05 / k (Bonferroni).
    """
    cells = table.dropna(subset=[value]).groupby(["workload", "seed"])[value].mean()
    groups = [group.to_numpy(np.float64) for _, group in cells.groupby("workload")]
    rng = np.random.default_rng(seed)
    means = np.array(
        [[rng.choice(group, len(group)).mean() for group in groups] for _ in range(RESAMPLES // 10)]
    )
    chosen = rng.integers(0, len(groups), (RESAMPLES, len(groups)))
    drawn = means[rng.integers(0, len(means), RESAMPLES)[:, None], chosen].mean(axis=1)
    tail = 100 * _expanded_tail((1 - level) / 2, len(groups))
    low, high = np.percentile(drawn, [tail, 100 - tail])
    return float(np.mean([group.mean() for group in groups])), float(low), float(high)


def _expanded_tail(tail: float, count: int) -> float:
    """Give the share to cut off a bootstrap's end of so many groups, to leave out `tail` of samples."""
    if count < 2:  # noqa: PLR2004  # no spread between groups to correct
        return tail
    normal, free = NormalDist(), count - 1
    z = normal.inv_cdf(1 - tail)
    # Student's quantile from the normal one: Abramowitz and Stegun, 26.7.5.
    t = (
        z
        + (z**3 + z) / (4 * free)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * free**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * free**3)
    )
    return 1 - normal.cdf(t * math.sqrt(count / free))
