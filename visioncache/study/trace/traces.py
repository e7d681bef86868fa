"""Traces: what was asked of a cache, one event a line; reading, writing, checking, anonymising."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
from blake3 import blake3

from visioncache.events import KEYLESS, LOOKUPS, TRACE_VERSION, EventLog

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    from visioncache.events import Event

COLUMNS = ("time", "session", "turn", "key", "nbytes", "tokens", "seconds", "outcome")
"""Of a trace as a DataFrame; `nbytes` is the line's `bytes`."""

OUTCOMES = (*LOOKUPS, "put", "evict", "reject", "pop", "clear", "resize", "store-error")

TraceLike: TypeAlias = "pd.DataFrame | EventLog | str | os.PathLike[str] | Sequence[str | os.PathLike[str]]"
"""A trace, `cache.events`, the file that holds one, or files that follow one another, oldest first."""


class TraceError(ValueError):
    """A trace that can't be used; the message says where and why."""


@dataclass(frozen=True)
class BadLine:
    """A line that is no event, and why."""

    path: str
    number: int
    reason: str

    def __str__(self) -> str:
        return f"{self.path}:{self.number}: {self.reason}"


def trace_frame(events: Iterable[Event]) -> pd.DataFrame:
    """The trace of `cache.events`, or of any events: a row an event, columns `COLUMNS`."""
    return _frame([event.trace_line() for event in events])


def read_trace(source: TraceLike) -> tuple[pd.DataFrame, list[BadLine]]:
    """Every event of a trace, and the lines that could not be read; nothing is guessed.

    Raises:
        OSError: a file can't be read.
    """
    if isinstance(source, pd.DataFrame):
        return source, []
    if isinstance(source, EventLog):
        return trace_frame(source), []
    rows: list[dict[str, Any]] = []
    bad: list[BadLine] = []
    for path in _paths(source):
        with path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                if not raw.strip():
                    continue
                try:
                    rows.append(_parse(raw))
                except ValueError as error:
                    bad.append(BadLine(str(path), number, str(error)))
    return _frame(rows), bad


def load_trace(source: TraceLike) -> pd.DataFrame:
    """Every event of a trace.

    Raises:
        TraceError: a line is no event; `read_trace` reads the others.
        OSError: a file can't be read.
    """
    trace, bad = read_trace(source)
    if bad:
        more = f" (and {len(bad) - 1} more; read_trace tells them all)" if len(bad) > 1 else ""
        raise TraceError(f"{bad[0]}{more}")
    return trace


def requests(source: TraceLike) -> pd.DataFrame:
    """The look-ups of a trace in order, each with its image's bytes, tokens and encode seconds.

    A miss learns them from the put that follows, else from any event of the same image; an image has
    one size, its largest. A frame without outcomes is taken as look-ups; it needs `key` and `nbytes`.
    Images whose size no event tells are left out and counted in `.attrs["unsized"]`.

    Raises:
        TraceError: a line is no event, a column is missing, or a size is negative or no number.
    """
    trace = load_trace(source)
    missing = [name for name in ("key", "nbytes") if name not in trace]
    if missing:
        raise TraceError(f"a trace has columns 'key' and 'nbytes'; there is no {', '.join(missing)}")
    trace = trace.reset_index(drop=True)
    known = trace.reindex(columns=[*COLUMNS])
    for name in ("nbytes", "seconds", "tokens"):
        known[name] = pd.to_numeric(known[name], errors="coerce")
    # A recorded miss has no size yet: zero there means unknown, not empty.
    known.loc[known["outcome"].eq("miss") & known["nbytes"].eq(0), ["nbytes", "seconds"]] = np.nan
    by_key = known[known["outcome"].isna() | known["outcome"].isin([*LOOKUPS, "put", "reject"])].groupby(
        "key"
    )
    asked = known[known["outcome"].isna() | known["outcome"].isin(LOOKUPS)].copy()
    for name in ("nbytes", "seconds", "tokens"):
        asked[name] = asked["key"].map(by_key[name].max())
    unsized = asked["nbytes"].isna()
    if asked["nbytes"].lt(0).any():
        raise TraceError(f"row {asked['nbytes'].lt(0).idxmax()}: a value has no negative bytes")
    asked = asked[~unsized].reset_index(drop=True)
    asked["nbytes"] = asked["nbytes"].astype(np.int64)
    asked["seconds"] = asked["seconds"].fillna(0.0)
    asked.attrs["unsized"] = int(unsized.sum())
    return asked


def save_trace(trace: pd.DataFrame, path: str | os.PathLike[str]) -> int:
    """Write a trace as JSON lines; returns how many."""
    rows = trace.reindex(columns=[*COLUMNS]).rename(columns={"nbytes": "bytes"})
    with Path(path).open("w", encoding="utf-8") as file:
        for row in rows.astype(object).where(rows.notna(), None).to_dict("records"):
            row["outcome"] = row["outcome"] or "miss"
            row["bytes"], row["seconds"] = row["bytes"] or 0, row["seconds"] or 0.0
            line = {"v": TRACE_VERSION} | {name: _plain(value) for name, value in row.items()}
            file.write(json.dumps(line) + "\n")
    return len(rows)


def anonymise(source: TraceLike, *, secret: bytes | None = None) -> pd.DataFrame:
    """The same trace for publication: who is who stays, everything that could name it goes.

    Keys become keyed hashes (so that nobody can look for an image that they have), sessions become
    s1, s2, ... in order of appearance, time starts at zero; other columns are dropped.

    Args:
        source: the trace.
        secret: 32 bytes that make keys agree between traces; by default fresh, kept nowhere.
    """
    trace = load_trace(source).reindex(columns=[*COLUMNS])
    secret = secrets.token_bytes(32) if secret is None else secret
    keys = {
        key: blake3(str(key).encode("utf-8", "surrogatepass"), key=secret).hexdigest(16)
        for key in trace["key"].dropna().unique()
    }
    sessions = {name: f"s{i}" for i, name in enumerate(trace["session"].dropna().unique(), 1)}
    turns = pd.to_numeric(trace["turn"], errors="coerce")  # a turn that is a word could name somebody
    columns = {"key": trace["key"].map(keys), "session": trace["session"].map(sessions), "turn": turns}
    return trace.assign(time=trace["time"] - trace["time"].min(), **columns)


def _paths(source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[Path]:
    if isinstance(source, (list, tuple)):
        return [Path(path) for path in source]
    return [Path(source)]  # type: ignore[arg-type]


def _parse(raw: bytes) -> dict[str, Any]:
    """A line as a dictionary; ValueError says what is wrong with it."""
    try:
        line = json.loads(raw)
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise ValueError("not JSON") from None
    if not isinstance(line, dict):
        raise ValueError(f"a line is an object, not {type(line).__name__}")  # noqa: TRY004  # one error
    if line.get("v") != TRACE_VERSION:
        raise ValueError(f"version {line.get('v')!r}; this program reads {TRACE_VERSION}")
    outcome = line.get("outcome")
    if outcome not in OUTCOMES:
        raise ValueError(f"outcome {outcome!r}; there are: {', '.join(OUTCOMES)}")
    if not (isinstance(line.get("key"), str) or (outcome in KEYLESS and line.get("key") is None)):
        raise ValueError(f"'key' is text, not {line.get('key')!r}")
    for name, least in (("bytes", 0), ("seconds", 0), ("time", -np.inf)):
        if not _is_number(line.get(name)) or not least <= line[name] < np.inf:
            raise ValueError(f"{name!r} is a number{' from 0' if least == 0 else ''}, not {line.get(name)!r}")
    if not isinstance(line["bytes"], int):
        raise ValueError(f"'bytes' is a whole number, not {line['bytes']!r}")  # noqa: TRY004  # one error
    if line.get("tokens") is not None and not (_is_number(line["tokens"]) and line["tokens"] >= 0):
        raise ValueError(f"'tokens' is a number from 0, or null, not {line['tokens']!r}")
    return line


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _frame(lines: list[dict[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame(lines, columns=[c if c != "nbytes" else "bytes" for c in COLUMNS])
    return frame.rename(columns={"bytes": "nbytes"})


def _plain(value: Any) -> Any:
    """What JSON takes, of what pandas holds; a whole number stays one."""
    value = value.item() if isinstance(value, np.generic) else value
    return int(value) if isinstance(value, float) and value.is_integer() else value
