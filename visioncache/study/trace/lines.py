"""Lines of a trace: one event each, as JSON; checked alike when they are read and when they are written."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from visioncache.events import KEYLESS, LOOKUPS, STAGE_TAGS, TRACE_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable

OUTCOMES = (*LOOKUPS, "put", "evict", "reject", "pop", "clear", "resize", "store-error")

MOST_BYTES = 2**50
"""Of one value: 1 PiB. A sum of larger ones would not fit into 64 bits."""


def parse(raw: bytes) -> dict[str, Any]:
    """Read a line; ValueError says what is wrong with it."""
    try:
        line = json.loads(raw)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        raise ValueError("not JSON") from None
    if not isinstance(line, dict):
        raise ValueError(f"a line is an object, not {type(line).__name__}")  # noqa: TRY004  # one error
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


def in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put the lines of each recording in the order of their numbers, as threads may not write them so.

    A number that comes again begins another recording; lines without numbers stay where they are.
    """
    if not all(row.get("seq") for row in rows):
        return rows
    seen: set[int] = set()
    recording = 0
    order: list[tuple[int, int]] = []
    for row in rows:
        if row["seq"] in seen:
            recording, seen = recording + 1, set()
        seen.add(row["seq"])
        order.append((recording, row["seq"]))
    return [row for _, row in sorted(zip(order, rows, strict=True), key=lambda pair: pair[0])]


def _is_number(value: Any, least: float = 0.0) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value < math.inf


def _is_count(value: Any) -> bool:
    return _is_number(value) and isinstance(value, int)


_NAME = (lambda value: isinstance(value, (str, int, type(None)))), "text, a whole number or null"
_SOME = (lambda value: value is None or _is_number(value)), "a number from 0, or null"
_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "bytes": ((lambda value: _is_count(value) and value <= MOST_BYTES), "a whole number from 0 to 2**50"),
    "seconds": (_is_number, "a number from 0"),
    "time": ((lambda value: _is_number(value, -math.inf) and value > -math.inf), "a number"),
    "tokens": _SOME,
    "session": _NAME,
    "turn": _NAME,
    "request": _NAME,
    **dict.fromkeys(STAGE_TAGS, _SOME),
    "seq": ((lambda value: value is None or _is_count(value)), "a whole number from 0, or null"),
}
"""Fields of a line: a test of the value, and the words for it."""
