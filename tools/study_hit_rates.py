"""Compute what notebook 05 tells of 20 seeds: data/results/hit_rates/gains.csv and granularity.csv.

python tools/study_hit_rates.py [seeds]; about five minutes on two cores.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import pandas as pd
from tqdm import tqdm

from visioncache.study import workload
from visioncache.study.data import data_path
from visioncache.study.sim.gains import granularity_gains, policy_gains
from visioncache.study.sim.studied import GRANULARITY_SHARES
from visioncache.study.trace.workloads import WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Sequence

POLICIES = ["gdsf", "random", "sieve", "s3-fifo"]
STUDIED: dict[str, dict[str, Any]] = {
    **{name: {} for name in WORKLOADS},
    "catalogue": {"requests": 1000, "items": 400},
    "document, swept": {"order": "question"},
}
"""Workloads with their own sizes, and options that differ from the default."""


def of_seed(seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both tables of one seed."""
    traces = {name: [workload(name.split(",")[0], seed, **options)] for name, options in STUDIED.items()}
    tables = policy_gains(traces, POLICIES), granularity_gains(traces, GRANULARITY_SHARES)
    return tuple(table.assign(seed=seed) for table in tables)  # type: ignore[return-value]


def about(tables: Sequence[pd.DataFrame]) -> dict[str, Any]:
    """Say where tables of one seed each come from, together: version, parameters, and each trace's digest."""
    told = dict(tables[0].attrs)
    digests = {name: [table.attrs["traces"][name][0] for table in tables] for name in told["traces"]}
    return {**told, "seeds": len(tables), "workloads": STUDIED, "traces": digests}


def main() -> None:
    """Compute and write them."""
    seeds = range(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
    folder = data_path("results", "hit_rates")
    folder.mkdir(exist_ok=True)
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        parts = list(tqdm(pool.map(of_seed, seeds), total=len(seeds)))
    for name, tables in zip(("gains", "granularity"), zip(*parts, strict=True), strict=True):
        table = pd.concat(tables, ignore_index=True)
        text = table.to_csv(index=False, float_format="%.5g")
        (folder / f"{name}.csv").write_text(f"# {json.dumps(about(tables))}\n{text}", encoding="utf-8")


if __name__ == "__main__":
    main()
