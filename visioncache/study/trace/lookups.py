"""Look-ups of a trace, each with its image's bytes and tokens and the seconds that its encode cost."""

from __future__ import annotations

import numpy as np
import pandas as pd

from visioncache.events import LOOKUPS
from visioncache.study.trace.lines import MOST_BYTES
from visioncache.study.trace.traces import COLUMNS, TraceError, TraceLike, load_trace

MOST_IN_ALL = 2**62
"""Bytes that all look-ups together may ask for, so that no sum of them overflows."""


def requests(source: TraceLike) -> pd.DataFrame:
    """List the look-ups of a trace in order, each with its image's bytes, tokens and encode seconds.

    A look-up is worth its own seconds: a hit what it was recorded to save, a miss what the put that
    followed it was recorded to cost, one of neither the median of its image's puts (else of its hits).
    So a replay that hits where the recording hit saves what the recording saved. An image has one size,
    its largest. A frame without outcomes is taken as look-ups; it needs `key` and `nbytes`. Images that
    no event gives a size are left out and counted in `.attrs["unsized"]`; `.attrs["backwards"]` counts
    look-ups that are earlier than the one before, where the order of lines is what counts.

    Raises:
        TraceError: a line is no event, a column is missing, or a size or cost is out of range.
    """
    trace = load_trace(source)
    missing = [name for name in ("key", "nbytes") if name not in trace]
    if missing:
        raise TraceError(f"a trace has columns 'key' and 'nbytes'; there is no {', '.join(missing)}")
    known = trace.reset_index(drop=True).reindex(columns=[*COLUMNS])
    for name in ("nbytes", "seconds", "tokens"):
        known[name] = _numbers(known, name)
    made, looked_up = known["outcome"].isna(), known["outcome"].isin(LOOKUPS)
    stored = known["outcome"].isin(["put", "reject"])
    # A recorded miss has no size and no cost yet: zero there means unknown, not empty.
    for name in ("nbytes", "seconds"):
        known.loc[known["outcome"].eq("miss") & known[name].eq(0), name] = np.nan
    known["seconds"] = _own_seconds(known[made | looked_up | stored], stored)
    by_key = known[made | looked_up | stored].groupby("key")
    asked = known[made | looked_up].copy()
    for name in ("nbytes", "tokens"):
        asked[name] = asked["key"].map(by_key[name].max())
    unsized = asked["nbytes"].isna()
    asked = asked[~unsized].reset_index(drop=True)
    if float(asked["nbytes"].sum()) >= MOST_IN_ALL:
        raise TraceError(f"the look-ups ask for {asked['nbytes'].sum():.3g} bytes in all, more than 2**62")
    asked["nbytes"] = asked["nbytes"].astype(np.int64)
    times = pd.to_numeric(asked["time"], errors="coerce")
    asked.attrs = {"unsized": int(unsized.sum()), "backwards": int(times.diff().lt(0).sum())}
    return asked


def _numbers(trace: pd.DataFrame, name: str) -> pd.Series[float]:
    """A column as numbers; TraceError for one that is negative, infinite, or too large a size."""
    column = pd.to_numeric(trace[name], errors="coerce").astype(float)
    most = MOST_BYTES if name == "nbytes" else np.finfo(float).max
    wrong = column.lt(0) | column.gt(most) | (column.isna() & trace[name].notna())
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        upto = " to 2**50" if name == "nbytes" else ", and finite"
        raise TraceError(f"row {row}: {name!r} is a number from 0{upto}, not {trace[name].tolist()[row]!r}")
    return column


def _own_seconds(events: pd.DataFrame, stored: pd.Series[bool]) -> pd.Series[float]:
    """Seconds of each look-up and put: its own, else those of its image's next put, else the median."""
    puts = events["seconds"].where(stored)
    following = puts.groupby(events["key"]).bfill()
    typical = puts.groupby(events["key"]).transform("median")
    rest = events["seconds"].groupby(events["key"]).transform("median")
    return events["seconds"].fillna(following).fillna(typical).fillna(rest).fillna(0.0)
