"""Traces that ship with the project, by name: recorded sessions of the demo model, and made ones at scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

from visioncache.study.data import data_path
from visioncache.study.trace.traces import load_trace

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd


def published_traces() -> dict[str, Path]:
    """List the traces that ship, by name; data/traces/README.md is their card."""
    recorded = sorted(data_path("sessions", "traces").glob("*.jsonl"))
    made = sorted(data_path("traces").glob("*.csv.gz"))
    return {path.name.split(".")[0]: path for path in [*recorded, *made]}


def published_trace(name: str) -> pd.DataFrame:
    """Load a trace that ships by its name; ValueError tells all there are."""
    found = published_traces()
    if name not in found:
        raise ValueError(f"no trace {name!r}; there are: {', '.join(found)}")
    return load_trace(found[name])
