"""About: what is said of a value beside its bytes (label, cost, tokens, kind), checked as it comes in."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from typing import Any

from visioncache.events import NO_TAGS
from visioncache.keys import Key

KINDS = ("image", "video", "tile", "request", "prefix")
"""Kinds of entries; an entry's meta names its own as `kind`, and says nothing for an image."""


def check_extras(label: Any, seconds: Any, meta: Any) -> None:
    """Refuse now what a later hit, table or trace would stumble over.

    Raises:
        TypeError: `label` is not text, `seconds` no number, or `meta` no mapping.
        ValueError: `seconds` is negative or not finite.
    """
    if label is not None and not isinstance(label, str):
        raise TypeError(f"label={label!r}: text, or None")
    if not isinstance(seconds, numbers.Real):
        raise TypeError(f"seconds={seconds!r}: a number of seconds")
    if not 0 <= float(seconds) < math.inf:
        raise ValueError(f"seconds={seconds!r}: 0 or more, and finite")
    if meta is not None and not isinstance(meta, Mapping):
        raise TypeError(f"meta={meta!r}: a mapping, or None")


def event_facts(meta: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """List what a value's events say of it, beside its size and cost: how many tokens it is."""
    tokens = None if meta is None else meta.get("tokens")
    return NO_TAGS if tokens is None else {"tokens": tokens}


def number_of(meta: Mapping[str, Any] | None, name: str) -> int:
    """Read a count from a value's meta; 0 where there is none."""
    number: Any = None if meta is None else meta.get(name)
    counted = isinstance(number, numbers.Real) and 0 < float(number) < math.inf
    return int(number) if counted else 0


def kind_of(meta: Mapping[str, Any] | None) -> str:
    """Read from its meta what a value is: one of `KINDS`."""
    kind = None if meta is None else meta.get("kind")
    return kind if kind in KINDS else "image"


def label_of(source: Any) -> str:
    """Name an image whose caller gave no name."""
    if isinstance(source, Key):
        return source.unscoped.text
    if isinstance(source, (list, tuple)):
        return ", ".join(map(label_of, source))
    name = source if isinstance(source, str) else getattr(source, "filename", "") or ""
    return name or (str(source) if hasattr(source, "__fspath__") else type(source).__name__)
