"""Lines of a trace: one event each, as JSON; checked alike when they are read and when they are written."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from visioncache.events import KEYLESS, LOOKUPS, STAGE_TAGS, TRACE_VERSION
from visioncache.study.trace.errors import BadLine
from visioncache.study.trace.files import open_trace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OUTCOMES = (*LOOKUPS, "put", "evict", "reject", "pop", "clear", "resize", "store-error")

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
"""Columns of a trace as a DataFrame; `nbytes` is the line's `bytes`."""

MOST_BYTES = 2**50
"""Most bytes of one value: 1 PiB. A sum of larger ones would not fit into 64 bits."""

MOST_SECONDS = 2.0**50
"""Of one look-up. A sum of larger ones would lose the small ones, or be infinite."""

MOST_TIME = 2.0**63
"""Since any origin, so that dates in nanoseconds are times too."""


def read_lines(
    path: Path, rows_of: Callable[[bytes], list[dict[str, Any]]]
) -> tuple[list[dict[str, Any]], list[BadLine]]:
    """Read a file line by line into rows; report each line that is wrong, and pass over blank ones."""
    rows: list[dict[str, Any]] = []
    bad: list[BadLine] = []
    with open_trace(path) as file:
        for number, raw in enumerate(file, 1):
            if not raw.strip():
                continue
            try:
                rows += rows_of(raw)
            except ValueError as error:
                bad.append(BadLine(str(path), number, str(error)))
    return rows, bad


def object_of(raw: bytes) -> dict[str, Any]:
    """Read a line that is an object of JSON; ValueError says what is wrong with it."""
    try:
        line = json.loads(raw)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        raise ValueError("not JSON") from None
    if not isinstance(line, dict):
        raise ValueError(f"a line is an object, not {type(line).__name__}")  # noqa: TRY004  # one error
    return line


def parse(raw: bytes) -> dict[str, Any]:
    """Read a line of our own; ValueError says what is wrong with it."""
    line = object_of(raw)
    if line.get("v") != TRACE_VERSION:
        raise ValueError(f"version {line.get('v')!r}; this program reads {TRACE_VERSION}")
    check(line)
    return line


def check(line: dict[str, Any]) -> None:
    """Raise a ValueError, one line, for a field that the format doesn't allow."""
    outcome = line.get("outcome")
    if outcome not in OUTCOMES:
        raise ValueError(f"outcome {outcome!r}; there are: {', '.join(OUTCOMES)}")
    if not (isinstance(line.get("key"), str) or (outcome in KEYLESS and line.get("key") is None)):
        raise ValueError(f"'key' is text, not {line.get('key')!r}")
    for name, (allowed, told) in _FIELDS.items():
        if not allowed(line.get(name)):
            raise ValueError(f"{name!r} is {told}, not {line.get(name)!r}")


def frame_of(lines: list[dict[str, Any]]) -> pd.DataFrame:
    """Give lines as a trace."""
    frame = pd.DataFrame(lines, columns=[c if c != "nbytes" else "bytes" for c in COLUMNS])
    return frame.rename(columns={"bytes": "nbytes"})


def in_order(trace: pd.DataFrame) -> pd.DataFrame:
    """Put the events of each recording in the order of their numbers, as threads may not write them so.

    A number that comes again begins another recording; events without numbers stay where they are.
    """
    numbers = trace["seq"].fillna(0).tolist()
    if not numbers or not all(numbers):
        return trace
    seen: set[int] = set()
    recording = 0
    order: list[tuple[int, int]] = []
    for number in numbers:
        if number in seen:
            recording, seen = recording + 1, set()
        seen.add(number)
        order.append((recording, number))
    return trace.iloc[sorted(range(len(order)), key=order.__getitem__)].reset_index(drop=True)


def is_number(value: Any, least: float = 0.0, most: float = MOST_SECONDS) -> bool:
    """Tell if a value is a number from `least` to `most`."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= most


def is_time(value: Any, least: float = -MOST_TIME) -> bool:
    """Tell if a value is a time."""
    return is_number(value, least, MOST_TIME)


def is_count(value: Any) -> bool:
    """Tell if a value is a whole number from 0."""
    return is_number(value, most=math.inf) and isinstance(value, int)


_NAME = (lambda value: isinstance(value, (str, int, type(None)))), "text, a whole number or null"
_SOME = (lambda value: value is None or is_number(value)), "a number from 0 to 2**50, or null"
_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "bytes": ((lambda value: is_count(value) and value <= MOST_BYTES), "a whole number from 0 to 2**50"),
    "seconds": (is_number, "a number from 0 to 2**50"),
    "time": (is_time, "a number of at most 2**63"),
    "tokens": _SOME,
    "session": _NAME,
    "turn": _NAME,
    "request": _NAME,
    **dict.fromkeys(STAGE_TAGS, _SOME),
    "seq": ((lambda value: value is None or is_count(value)), "a whole number from 0, or null"),
}
"""Fields of a line: a test of the value, and the words for it."""
