"""Read what `many_processes.py` wrote: what processes got from the store that they shared, and from one that died."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from visioncache.study.data import data_path

if TYPE_CHECKING:
    from pathlib import Path


def published_processes(folder: Path | None = None) -> dict[str, Any]:
    """Load the result that ships."""
    return json.loads(min((folder or data_path("results", "processes")).glob("*.json")).read_text("utf-8"))  # type: ignore[no-any-return]


def summary(content: dict[str, Any]) -> pd.DataFrame:
    """A row a number of processes and arm, of all trials: throughput, hits by place, encodes, quantiles of look-ups.

    `turns_s` is the median of trials; hits are shares of look-ups; `encodes` is of one trial, the median;
    `p50` and `p99` are of the seconds of look-ups that memory answered, that the store did, and that missed.
    """
    rows = []
    runs = pd.DataFrame(content["runs"])
    for (count, arm), trials in runs.groupby(["processes", "arm"], sort=False):
        kernels = [kernel for run in trials["kernels"] for kernel in run]
        found = [lookup for kernel in kernels for turn in kernel["lookups"] for lookup in turn]
        lookups = pd.DataFrame(found, columns=["where", "s"])
        turns = [sum(len(kernel["encodes"]) for kernel in run) for run in trials["kernels"]]
        encodes = [sum(sum(kernel["encodes"]) for kernel in run) for run in trials["kernels"]]
        row: dict[str, Any] = {
            "processes": count,
            "arm": arm,
            "turns_s": float(np.median(np.array(turns) / trials["seconds"])),
            "lookups": len(lookups) // len(trials),
            "images": int(trials["images"].iloc[0]),
            "encodes": int(np.median(encodes)),
            "tokens_equal": sum(kernel["turns_equal"] for kernel in kernels) == sum(turns),
        }
        for where in ("memory", "store", "miss"):
            seconds = lookups.loc[lookups["where"] == where, "s"]
            row[where] = len(seconds) / len(lookups) if len(lookups) else 0.0
            for quantile in (0.5, 0.99):
                row[f"{where}_p{100 * quantile:.0f}"] = seconds.quantile(quantile)
        rows.append(row)
    return pd.DataFrame(rows)


def fate(content: dict[str, Any]) -> pd.DataFrame:
    """A row a process with a killed server, of the first trial: what it got before and after.

    A turn that began before the kill and ended after it counts as after.
    """
    rows = []
    for run in content["runs"]:
        if run["killed_s"] is None or run["trial"]:
            continue
        for kernel in run["kernels"]:
            before = sum(end < run["killed_s"] for end in kernel["end_s"])
            first, then = kernel["lookups"][:before], kernel["lookups"][before:]
            found, later = ([where for turn in turns for where, _ in turn] for turns in (first, then))
            row = {
                "processes": run["processes"],
                "process": kernel["process"] + 1,
                "before": before,
                "store_hits_before": found.count("store"),
                "encodes_before": sum(kernel["encodes"][:before]),
                "after": len(kernel["encodes"]) - before,
                "memory_hits_after": later.count("memory"),
                "store_hits_after": later.count("store"),
                "encodes_after": sum(kernel["encodes"][before:]),
                "slowest_lookup_after_s": max((s for turn in then for _, s in turn), default=0.0),
                "exceptions": len(kernel["exceptions"]),
                "store_errors": kernel["store_errors"],
                "warnings": kernel["warnings"],
                "tokens_equal": kernel["turns_equal"] == len(kernel["encodes"]),
            }
            rows.append(row)
    return pd.DataFrame(rows)
