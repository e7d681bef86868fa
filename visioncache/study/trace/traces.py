"""Traces: what was asked of a cache, one event a line; read, written, checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd

from visioncache.events import STAGE_TAGS, TRACE_VERSION, EventLog
from visioncache.study.trace.errors import BadLine, TraceError
from visioncache.study.trace.files import paths, write_trace
from visioncache.study.trace.formats import FORMATS, format_of
from visioncache.study.trace.lines import COLUMNS, check, frame_of, in_order

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    from visioncache.events import Event
    from visioncache.study.trace.images import ImageModel

TraceLike: TypeAlias = "pd.DataFrame | EventLog | str | os.PathLike[str] | Sequence[str | os.PathLike[str]]"
"""A trace, `cache.events`, the file that holds one, or files that follow one another, oldest first."""


def trace_frame(events: Iterable[Event]) -> pd.DataFrame:
    """Make a trace of `cache.events`, or of any events: a row an event, columns `COLUMNS`."""
    return frame_of([event.trace_line() for event in events])


def read_trace(
    source: TraceLike,
    *,
    format: str | None = None,  # noqa: A002  # the word that everybody looks for
    images: ImageModel | None = None,
) -> tuple[pd.DataFrame, list[BadLine]]:
    """Read every event of a trace, and tell the lines that could not be read; nothing is guessed.

    Args:
        source: a trace; files may be packed by gzip or zstd.
        format: one of `FORMATS`; by default each file's is recognised by what it begins with.
        images: bytes and seconds of an image's tokens, for formats that tell tokens alone; drawn from it are
            the tokens where a format tells nothing but how many images there were.

    Raises:
        TraceError: a file lacks what its format must have.
        ValueError: there is no such format.
        MissingFormatError: a file needs pyarrow, which is not installed.
        OSError: a file can't be read.
    """
    if format is not None and format not in FORMATS:
        raise ValueError(f"no format {format!r}; there are: {', '.join(FORMATS)}")
    if isinstance(source, pd.DataFrame):
        return source, []
    if isinstance(source, EventLog):
        return trace_frame(source), []
    found, numbered = [], 0
    for path in paths(source):
        form = FORMATS[format or format_of(path)]
        frame, bad = form.read(path, images)
        if form.numbered and len(frame):
            frame["request"] += numbered  # a file's own numbers begin at 0
            numbered = int(frame["request"].max()) + 1
        found.append((frame, bad))
    frames = [frame for frame, _ in found if len(frame)]
    whole = pd.concat(frames, ignore_index=True) if len(frames) > 1 else (frames or [frame_of([])])[0]
    return in_order(whole), [line for _, bad in found for line in bad]


def load_trace(
    source: TraceLike,
    *,
    format: str | None = None,  # noqa: A002  # the word that everybody looks for
    images: ImageModel | None = None,
) -> pd.DataFrame:
    """Read every event of a trace, as `read_trace` does.

    Raises:
        TraceError: a line is no event; `read_trace` reads the others.
        OSError: a file can't be read.
    """
    trace, bad = read_trace(source, format=format, images=images)
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
    write_trace(Path(path), "".join(lines).encode())
    return len(lines)


_OPTIONAL = ("seq", "request", *STAGE_TAGS)
"""Fields that a line does without where nothing is known."""


def _plain(value: Any) -> Any:
    """Give a value of pandas as JSON's; a whole number stays one."""
    value = value.item() if isinstance(value, np.generic) else value
    return int(value) if isinstance(value, float) and value.is_integer() else value
