"""Limits: how many entries and bytes a cache may hold; None is no limit."""

from __future__ import annotations

import numbers

from visioncache.sizes import parse_size


def within(amount: int, bound: int | None) -> bool:
    """Tell whether an amount keeps a bound."""
    return bound is None or amount <= bound


def positive_entries(max_size: int | None) -> int | None:
    """A number of entries as given, or ValueError."""
    if max_size is None:
        return None
    if isinstance(max_size, bool) or not isinstance(max_size, numbers.Integral) or max_size < 1:
        raise ValueError(f"max_size={max_size!r}: a cache holds at least 1 entry (None: no bound)")
    return int(max_size)


def positive_bytes(max_bytes: float | str | None) -> int | None:
    """A number of bytes, of a size as given or of "auto", or ValueError."""
    if max_bytes is None:
        return None
    if max_bytes == "auto":
        from visioncache.memory import auto_budget

        return auto_budget()
    size = parse_size(max_bytes)
    if size < 1:
        raise ValueError(f"max_bytes={max_bytes!r}: a budget is at least 1 byte (None: no bound)")
    return size
