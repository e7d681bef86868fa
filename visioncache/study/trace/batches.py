"""Batches: which look-ups of a trace were made together, before anything that they missed was stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNTOLD = -1
"""Number of the request of a row that tells none."""


def request_numbers(trace: pd.DataFrame) -> NDArray[np.int64]:
    """Number the requests of a trace's rows, from 0; `UNTOLD` where a row tells neither request nor turn.

    Rows of one request carry its number (`cache.tag(request=...)`, which `Chat` sets). Where they don't, a
    request is what one session asks at one turn, and in made-up traces at one time.
    """
    number, session, turn = (_codes(trace, name) for name in ("request", "session", "turn"))
    numbers = np.full(len(trace), UNTOLD, np.int64)
    named = number >= 0
    known = named | ((session >= 0) & (turn >= 0))
    if not known.any():
        return numbers
    marks = [session, turn]
    if "outcome" not in trace or trace["outcome"].isna().all():  # made, not recorded: one moment a request
        marks.append(_codes(trace, "time"))
    by_session = np.argsort(session, kind="stable")
    new = np.ones(len(trace), np.bool_)
    new[1:] = np.any([np.diff(mark[by_session]) != 0 for mark in marks], axis=0)
    run = np.empty(len(trace), np.int64)
    run[by_session] = np.cumsum(new)
    which = np.where(named, number, -run)  # a run is counted from 1
    numbers[known] = pd.factorize(which[known])[0]
    return numbers


def batch_numbers(trace: pd.DataFrame, stored: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Number what was looked up together: rows of one request, until something is stored for it.

    An attached model stores what a request missed after all of its look-ups. Where a recording stores
    earlier, as `get_or_compute` does, what is looked up afterwards is another batch; so it is in another
    recording. A row that tells no request is a batch of its own.

    Args:
        trace: all events, in order.
        stored: tells for every row whether a value was stored, or rejected.
    """
    batches = np.arange(len(trace))
    request = request_numbers(trace)
    known = request != UNTOLD
    if not known.any():
        return batches
    parted = pd.Series(stored[known]).groupby(request[known]).cumsum().to_numpy(np.int64)
    if "seq" in trace:  # a number that is lower begins another recording
        numbers = trace["seq"].to_numpy(np.float64, na_value=np.nan)
        parted = parted + np.cumsum(np.diff(numbers, prepend=-np.inf) < 0)[known]
    batches[known] = len(trace) + pd.factorize(request[known] * (2 * len(trace) + 1) + parted)[0]
    return batches


def _codes(trace: pd.DataFrame, name: str) -> NDArray[np.int64]:
    """Number a column's values; -1 where there is none."""
    if name not in trace:
        return np.full(len(trace), -1, np.int64)
    return pd.factorize(trace[name])[0].astype(np.int64)
