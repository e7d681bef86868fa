"""Traces: what was asked of a cache, one event a line; read, written, checked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd

from visioncache.events import STAGE_TAGS, TRACE_VERSION, EventLog
from visioncache.study.trace.lines import check, in_order, parse

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    from visioncache.events import Event

COLUMNS = (
    "time",
    "session",
    "turn",
    "key",
    "nbytes",
    "tokens",
    "seconds",
    "outcome",
    "seq",
    "request",
    *STAGE_TAGS,
)
"""Of a trace as a DataFrame; `nbytes` is the line's `bytes`."""

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
    """Make a trace of `cache.events`, or of any events: a row an event, columns `COLUMNS`."""
    return frame_of([event.trace_line() for event in events])


def read_trace(source: TraceLike) -> tuple[pd.DataFrame, list[BadLine]]:
    """Read every event of a trace, and tell the lines that could not be read; nothing is guessed.

    Raises:
        OSError: a file can't be read.
    """
    if isinstance(source, pd.DataFrame):
        return source, []
    if isinstance(source, EventLog):
        return trace_frame(source), []
    rows: list[dict[str, Any]] = []
    bad: list[BadLine] = []
    for path in paths(source):
        with path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                if not raw.strip():
                    continue
                try:
                    rows.append(parse(raw))
                except ValueError as error:
                    bad.append(BadLine(str(path), number, str(error)))
    return frame_of(in_order(rows)), bad


def load_trace(source: TraceLike) -> pd.DataFrame:
    """Read every event of a trace.

    Raises:
        TraceError: a line is no event; `read_trace` reads the others.
        OSError: a file can't be read.
    """
    trace, bad = read_trace(source)
    if bad:
        more = f" (and {len(bad) - 1} more; read_trace tells them all)" if len(bad) > 1 else ""
        raise TraceError(f"{bad[0]}{more}")
    return trace


def save_trace(trace: pd.DataFrame, path: str | os.PathLike[str]) -> int:
    """Write a trace as JSON lines; returns how many. Without outcomes, its rows are misses.

    Raises:
        TraceError: `load_trace` would refuse a row; nothing is written then.
        OSError: the file can't be written.
    """
    rows = trace.reindex(columns=[*COLUMNS]).rename(columns={"nbytes": "bytes"})
    lines = []
    for number, row in enumerate(rows.astype(object).where(rows.notna(), None).to_dict("records")):
        line = {"v": TRACE_VERSION} | {str(name): _plain(value) for name, value in row.items()}
        line["outcome"] = line["outcome"] or "miss"
        line["bytes"], line["seconds"] = line["bytes"] or 0, line["seconds"] or 0.0
        line = {name: value for name, value in line.items() if name not in _OPTIONAL or value is not None}
        try:
            check(line)
        except ValueError as error:
            raise TraceError(f"row {number}: {error}") from None
        lines.append(json.dumps(line) + "\n")
    Path(path).write_text("".join(lines), encoding="utf-8")
    return len(lines)


_OPTIONAL = ("seq", "request", *STAGE_TAGS)
"""Fields that a line does without where nothing is known."""


def paths(source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[Path]:
    """List the files of a trace."""
    if isinstance(source, (list, tuple)):
        return [Path(path) for path in source]
    return [Path(source)]  # type: ignore[arg-type]


def frame_of(lines: list[dict[str, Any]]) -> pd.DataFrame:
    """Give lines as a trace."""
    frame = pd.DataFrame(lines, columns=[c if c != "nbytes" else "bytes" for c in COLUMNS])
    return frame.rename(columns={"bytes": "nbytes"})


def _plain(value: Any) -> Any:
    """Give a value of pandas as JSON's; a whole number stays one."""
    value = value.item() if isinstance(value, np.generic) else value
    return int(value) if isinstance(value, float) and value.is_integer() else value
