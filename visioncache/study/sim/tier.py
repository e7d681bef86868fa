"""A tier: its bound, load cost, time to live and admission, and what it holds while it is simulated."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from visioncache.sizes import parse_size
from visioncache.study.data import data_path

MEASURED = {
    "memory": "memory",
    "disk": "disk, warm",
    "disk, cold": "disk, cold",
    "redis": "server (loopback)",
}
"""Tiers that benchmarks/store_tiers.py measures, and what it calls them."""


@dataclass(frozen=True)
class Tier:
    """A place for values: least recently used go first, by bytes."""

    name: str
    max_bytes: int | str | None = None
    """None for no bound."""
    fixed_s: float = 0.0
    """Spent on every load, however small."""
    bytes_per_s: float = float("inf")
    overhead: int = 0
    """Bytes stored beside each value."""
    ttl: float | None = None
    """Seconds after which a value is gone, however often it was asked for; None for never."""
    admit_after: int = 1
    """Look-ups from which a value is stored here: 2 leaves out what is asked for once."""
    admit_bytes: int | None = None
    """The largest value that is stored; None for any that fits."""

    def load_s(self, nbytes: float) -> float:
        """Give the seconds of loading a value."""
        return self.fixed_s + nbytes / self.bytes_per_s

    @cached_property
    def bound(self) -> float:
        """Give its bytes as a number; ValueError for a size that is none."""
        return float("inf") if self.max_bytes is None else parse_size(self.max_bytes)


def measured_tier(
    kind: str,
    max_bytes: int | str | None = None,
    *,
    result: str | Path | None = None,
    **options: float | None,
) -> Tier:
    """Make a tier with the load cost that benchmarks/store_tiers.py measured.

    Args:
        kind: "memory", "disk", "disk, cold" or "redis".
        max_bytes: its bound.
        result: the benchmark's result (`--json`); by default the one in data/results/tiers.
        options: other fields of `Tier`.

    Raises:
        ValueError: a kind that it does not measure.
        OSError: there is no such result.
    """
    if kind not in MEASURED:
        raise ValueError(f"kind={kind!r}; there are: {', '.join(map(repr, MEASURED))}")
    path = min(data_path("results", "tiers").glob("*.json")) if result is None else Path(result)
    seconds = json.loads(path.read_text(encoding="utf-8"))["seconds"]
    sizes = np.array([parse_size(label) for label in seconds], np.float64)
    medians = np.array([np.median(arms[MEASURED[kind]]) for arms in seconds.values()])
    slope, fixed = np.polyfit(sizes, medians, 1)
    slope = max(float(slope), 0.0)
    return Tier(
        kind,
        max_bytes,
        fixed_s=max(float(fixed), 0.0),
        bytes_per_s=1 / slope if slope else float("inf"),
        **options,  # type: ignore[arg-type]  # fields of Tier by name
    )


class Held:
    """The entries that a tier holds now."""

    def __init__(self, tier: Tier) -> None:
        self.tier = tier
        self.sizes: OrderedDict[object, int] = OrderedDict()
        self.stored: OrderedDict[object, float] = OrderedDict()
        """When, oldest first."""
        self.filled = self.evictions = 0

    def fits(self, size: int) -> bool:
        """Tell if a value fits into it when it is empty."""
        return size + self.tier.overhead <= self.tier.bound

    def put(self, key: object, size: int, now: float) -> None:
        """Store a value as the most recently used, the least recently used making room."""
        size += self.tier.overhead
        while self.filled + size > self.tier.bound:
            self.remove(next(iter(self.sizes)))
            self.evictions += 1
        self.sizes[key], self.stored[key] = size, now
        self.filled += size

    def remove(self, key: object) -> None:
        """Remove a value."""
        self.filled -= self.sizes.pop(key)
        del self.stored[key]

    def touch(self, key: object) -> bool:
        """Make a value the most recently used; False when there is none."""
        if key not in self.sizes:
            return False
        self.sizes.move_to_end(key)
        return True

    def expire(self, now: float) -> None:
        """Remove what was stored too long ago."""
        if self.tier.ttl is not None:
            while self.stored and now - self.stored[oldest := next(iter(self.stored))] >= self.tier.ttl:
                self.remove(oldest)
