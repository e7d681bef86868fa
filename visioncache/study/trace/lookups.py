"""Look-ups of a trace, each with its image's bytes and tokens and the seconds that its encode cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from visioncache.events import LOOKUPS, STAGE_TAGS
from visioncache.study.trace.batches import batch_numbers
from visioncache.study.trace.errors import TraceError
from visioncache.study.trace.lines import COLUMNS, MOST_BYTES, MOST_SECONDS, MOST_TIME
from visioncache.study.trace.traces import TraceLike, load_trace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

STORED = ("put", "reject")
"""Outcomes of storing a value."""

MOST_IN_ALL = 2**62
"""Bytes that all look-ups together may ask for, so that no sum of them overflows."""


def requests(source: TraceLike, columns: Sequence[str] = COLUMNS) -> pd.DataFrame:
    """List the look-ups of a trace in order, each with its image's bytes, tokens and encode seconds.

    A look-up is worth its own seconds: a hit what it was recorded to save, a miss what the put that
    followed it was recorded to cost, one of neither the median of its image's puts (else of its hits).
    So a replay that hits where the recording hit saves what the recording saved. An image has one size,
    its largest; `image` is its number, from 0. `batch` numbers what was looked up together, with the column
    `request` (see `batch_numbers`). A frame without outcomes is taken as look-ups; it needs
    `key` and `nbytes`. Images that no event gives a size are left out and counted in `.attrs["unsized"]`;
    `.attrs["backwards"]` counts look-ups that are earlier than the one before: the order of lines counts.

    Args:
        source: the trace.
        columns: of a trace, those wanted beside `image` and `nbytes`; each that isn't saves memory.

    Raises:
        TraceError: a line is no event, a column is missing, or a size or cost is out of range.
    """
    trace = load_trace(source).reset_index(drop=True)
    _check_columns(trace)
    image, _ = pd.factorize(trace["key"])
    outcome = _column(trace, "outcome")
    made = np.array(outcome.isna(), bool)
    stored, missed = (np.zeros(len(made), np.bool_) for _ in range(2))
    if not made.all():  # recorded
        stored = outcome.isin(STORED).to_numpy(bool)
        # A recorded miss has no size and no cost yet: zero there means unknown, not empty.
        missed = outcome.eq("miss").to_numpy(bool)
        made |= outcome.isin(LOOKUPS).to_numpy(bool)
    del outcome
    if (made & (image < 0)).any():
        raise TraceError(f"row {int((made & (image < 0)).argmax())}: a look-up has a key, not nothing")
    tells, asked = (made | stored) & (image >= 0), made & (image >= 0)
    nbytes = _numbers(trace, "nbytes")
    nbytes[missed & (nbytes == 0)] = np.nan
    nbytes = _largest(image, nbytes, tells)
    unsized = asked & np.isnan(nbytes)
    asked &= ~unsized
    kept: Any = slice(None) if asked.all() else asked
    found = pd.DataFrame({"nbytes": nbytes[kept].astype(np.int64)})
    if nbytes[kept].sum() >= MOST_IN_ALL:
        raise TraceError(f"the look-ups ask for {nbytes[kept].sum():.3g} bytes in all, more than 2**62")
    del nbytes
    for name in columns:
        if name == "tokens":
            found[name] = _largest(image, _numbers(trace, name), tells)[kept]
        elif name == "seconds" or (name in STAGE_TAGS and _column(trace, name).notna().any()):
            spent = _numbers(trace, name)
            if name == "seconds":
                spent[missed & (spent == 0)] = np.nan
            found[name] = _own_seconds(image, spent, stored, tells)[kept]
        elif name != "nbytes":
            found[name] = _column(trace, name)[kept].reset_index(drop=True)
    found = found[[*dict.fromkeys([*(name for name in columns if name in found), "nbytes"])]]
    found["image"] = image if isinstance(kept, slice) else pd.factorize(image[kept])[0]
    if "request" in columns:
        # Look-ups that were listed before have lost the puts that part them.
        batch = trace["batch"].to_numpy() if "batch" in trace else batch_numbers(trace, stored)
        found["batch"] = batch[kept]
    times = _times(_column(trace, "time")[kept])
    found.attrs = {
        **trace.attrs,
        "unsized": int(unsized.sum()),
        "backwards": int((times[1:] < times[:-1]).sum()),
    }
    return found


def _check_columns(trace: pd.DataFrame) -> None:
    """Raise a TraceError where a column is missing, or there twice."""
    missing = [name for name in ("key", "nbytes") if name not in trace]
    if missing:
        raise TraceError(f"a trace has columns 'key' and 'nbytes'; there is no {', '.join(missing)}")
    if not trace.columns.is_unique:
        doubled = ", ".join(map(repr, dict.fromkeys(trace.columns[trace.columns.duplicated()])))
        raise TraceError(f"a trace has each column once; there are several of {doubled}")


def _times(given: pd.Series[Any]) -> NDArray[np.float64]:
    """Give times as numbers, NaN where there is none; TraceError for what is no time."""
    times: NDArray[np.float64] = pd.to_numeric(given, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    wrong = (np.abs(times) > MOST_TIME) | (np.isnan(times) & given.notna().to_numpy(bool))
    if wrong.any():
        row = int(wrong.argmax())
        raise TraceError(f"row {row}: 'time' is a number of at most 2**63, not {given.tolist()[row]!r}")
    return times


def _column(trace: pd.DataFrame, name: str) -> pd.Series[Any]:
    """Give a column of a trace; one of nothing where there is none."""
    return trace[name] if name in trace else pd.Series(np.nan, trace.index)


def _numbers(trace: pd.DataFrame, name: str) -> NDArray[np.float64]:
    """Give a column as numbers; TraceError for one that is negative, infinite, or too large a size."""
    given = _column(trace, name)
    column: NDArray[np.float64] = np.array(pd.to_numeric(given, errors="coerce"), np.float64)
    most = MOST_BYTES if name == "nbytes" else MOST_SECONDS
    wrong = (column < 0) | (column > most) | (np.isnan(column) & given.notna().to_numpy())
    whole = "whole " if name == "nbytes" else ""
    if whole:
        wrong |= ~np.isnan(column) & (column != np.floor(column))
    if wrong.any():
        row = int(wrong.argmax())
        raise TraceError(
            f"row {row}: {name!r} is a {whole}number from 0 to 2**50, not {given.tolist()[row]!r}"
        )
    return column


def _largest(
    image: NDArray[np.int64], values: NDArray[np.float64], among: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Give every event the largest value that events of its image have; NaN where none has one."""
    most = np.full(int(image.max(initial=-1)) + 1, -1.0)
    known = among & ~np.isnan(values)
    np.maximum.at(most, image[known], values[known])
    most[most < 0] = np.nan
    return most[image] if len(most) else np.full(len(image), np.nan)


def _own_seconds(
    image: NDArray[np.int64],
    seconds: NDArray[np.float64],
    stored: NDArray[np.bool_],
    among: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Give each event its own seconds, else those of its image's next put, else the median."""
    unknown = np.isnan(seconds[among])
    if not unknown.any() or unknown.all():
        seconds[np.isnan(seconds)] = 0.0
        return seconds
    own = pd.Series(np.where(among, seconds, np.nan))
    puts = own.where(stored).groupby(image)
    own = own.fillna(puts.bfill()).fillna(puts.transform("median"))
    own = own.fillna(pd.Series(np.where(among, seconds, np.nan)).groupby(image).transform("median"))
    return np.array(own.fillna(0.0), np.float64)
