"""Look-ups of a trace, each with its image's bytes and tokens and the seconds that its encode cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from visioncache.events import LOOKUPS, STAGE_TAGS
from visioncache.study.trace.errors import TraceError
from visioncache.study.trace.lines import COLUMNS, MOST_BYTES
from visioncache.study.trace.traces import TraceLike, load_trace

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_IN_ALL = 2**62
"""Bytes that all look-ups together may ask for, so that no sum of them overflows."""


def requests(source: TraceLike) -> pd.DataFrame:
    """List the look-ups of a trace in order, each with its image's bytes, tokens and encode seconds.

    A look-up is worth its own seconds: a hit what it was recorded to save, a miss what the put that
    followed it was recorded to cost, one of neither the median of its image's puts (else of its hits).
    So a replay that hits where the recording hit saves what the recording saved. An image has one size,
    its largest; `image` is its number, from 0. A frame without outcomes is taken as look-ups; it needs
    `key` and `nbytes`. Images that no event gives a size are left out and counted in `.attrs["unsized"]`;
    `.attrs["backwards"]` counts look-ups that are earlier than the one before: the order of lines counts.

    Raises:
        TraceError: a line is no event, a column is missing, or a size or cost is out of range.
    """
    trace = load_trace(source)
    missing = [name for name in ("key", "nbytes") if name not in trace]
    if missing:
        raise TraceError(f"a trace has columns 'key' and 'nbytes'; there is no {', '.join(missing)}")
    known = trace.reset_index(drop=True).reindex(columns=[*COLUMNS])
    image, _ = pd.factorize(known["key"])
    nbytes, seconds, tokens = (_numbers(known, name) for name in ("nbytes", "seconds", "tokens"))
    made, outcome = known["outcome"].isna().to_numpy(), known["outcome"]
    looked_up, stored = (outcome.isin(kinds).to_numpy() for kinds in (LOOKUPS, ("put", "reject")))
    # A recorded miss has no size and no cost yet: zero there means unknown, not empty.
    missed = outcome.eq("miss").to_numpy(bool)
    nbytes[missed & (nbytes == 0)] = np.nan
    seconds[missed & (seconds == 0)] = np.nan
    tells = (made | looked_up | stored) & (image >= 0)
    asked = (made | looked_up) & (image >= 0)
    nbytes, tokens = (_largest(image, values, tells)[asked] for values in (nbytes, tokens))
    sized = ~np.isnan(nbytes)
    if nbytes[sized].sum() >= MOST_IN_ALL:
        raise TraceError(f"the look-ups ask for {nbytes[sized].sum():.3g} bytes in all, more than 2**62")
    found = known[asked][sized].reset_index(drop=True)
    found["nbytes"], found["tokens"] = nbytes[sized].astype(np.int64), tokens[sized]
    found["seconds"] = _own_seconds(image, seconds, stored, tells)[asked][sized]
    for stage in STAGE_TAGS:
        if known[stage].notna().any():
            spent = _own_seconds(image, _numbers(known, stage), stored, tells)
            found[stage] = spent[asked][sized]
    found["image"] = pd.factorize(image[asked][sized])[0]
    times = pd.to_numeric(found["time"], errors="coerce")
    found.attrs = {"unsized": int((~sized).sum()), "backwards": int(times.diff().lt(0).sum())}
    return found


def _numbers(trace: pd.DataFrame, name: str) -> NDArray[np.float64]:
    """Give a column as numbers; TraceError for one that is negative, infinite, or too large a size."""
    column: NDArray[np.float64] = np.array(pd.to_numeric(trace[name], errors="coerce"), np.float64)
    most = MOST_BYTES if name == "nbytes" else np.finfo(float).max
    wrong = (column < 0) | (column > most) | (np.isnan(column) & trace[name].notna().to_numpy())
    if wrong.any():
        row = int(wrong.argmax())
        upto = " to 2**50" if name == "nbytes" else ", and finite"
        raise TraceError(f"row {row}: {name!r} is a number from 0{upto}, not {trace[name].tolist()[row]!r}")
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
