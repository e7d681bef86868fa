"""What a cache tells about itself: an entry, its counters, and what changed while one watched."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from visioncache.sizes import count, format_size, leaves

if TYPE_CHECKING:
    from collections.abc import Mapping

    from visioncache.keys import Key
    from visioncache.lru import Slot
    from visioncache.stores.tier import StoreInfo


@dataclass(frozen=True, slots=True)
class Entry:
    """One held value, described; the value itself stays in the cache."""

    key: Key
    label: str
    nbytes: int
    shape: tuple[int, ...]
    """Of the value's first array."""
    dtype: str
    hits: int
    created: float
    """Seconds, by the cache's clock; so is `last_used`."""
    last_used: float
    seconds: float
    """What the value cost to compute."""
    pinned: bool
    meta: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, slot: Slot) -> Entry:
        """What a cache holds in a slot."""
        shape, dtype = outline(slot.value)
        return cls(
            slot.key,
            slot.label,
            slot.nbytes,
            shape,
            dtype,
            slot.hits,
            slot.created,
            slot.last_used,
            slot.seconds,
            slot.pinned,
            slot.meta,
        )


@dataclass(slots=True)
class Counters:
    """What has happened, counted."""

    hits: int = 0
    misses: int = 0
    puts: int = 0
    evictions: int = 0
    rejects: int = 0
    seconds_saved: float = 0.0
    bytes_added: int = 0
    bytes_evicted: int = 0
    store_hits: int = 0
    """Look-ups that memory missed and the store answered; neither hits nor misses."""

    @property
    def hit_rate(self) -> float:
        """Look-ups answered, from memory or the store, over all; 0.0 before the first."""
        answered = self.hits + self.store_hits
        lookups = answered + self.misses
        return answered / lookups if lookups else 0.0

    def copy(self) -> Counters:
        """These counts as they are now."""
        return Counters(*(getattr(self, f.name) for f in fields(Counters)))

    def since(self, earlier: Counters) -> Counters:
        """What has been counted since `earlier`."""
        names = (f.name for f in fields(Counters))
        return Counters(*(getattr(self, name) - getattr(earlier, name) for name in names))


@dataclass(frozen=True, slots=True)
class CacheInfo:
    """A cache at one moment, in the manner of `functools.lru_cache`."""

    hits: int
    misses: int
    puts: int
    evictions: int
    rejects: int
    size: int
    max_size: int | None
    nbytes: int
    max_bytes: int | None
    hit_rate: float
    seconds_saved: float
    store_hits: int = 0
    """Look-ups that memory missed and the store answered."""
    store: StoreInfo | None = None
    """What the store did, when there is one."""

    def __str__(self) -> str:
        budget = "" if self.max_bytes is None else f" of {format_size(self.max_bytes)}"
        entries = f"{self.size}" if self.max_size is None else f"{self.size} of {self.max_size}"
        return (
            f"{entries} entries, {format_size(self.nbytes)}{budget}; "
            f"{_lookups(self)}, {self.evictions} evicted, {self.seconds_saved:.2f} s saved"
            f"{'' if self.store is None else f'; store: {self.store}'}"
        )

    def _repr_html_(self) -> str:
        from visioncache.jupyter.table import info_html

        return info_html(self)


@dataclass(slots=True)
class Delta(Counters):
    """What happened in a cache while a `watch()` was open; grows until it closes."""

    nbytes: int = 0
    """By how much the bytes held grew (negative when they shrank)."""
    elapsed: float = 0.0
    """Seconds, by the cache's clock."""

    def fill(self, counts: Counters, grown: int, elapsed: float) -> None:
        """Set what happened."""
        for item in fields(Counters):
            setattr(self, item.name, getattr(counts, item.name))
        self.nbytes, self.elapsed = grown, elapsed

    def __str__(self) -> str:
        return (
            f"{_lookups(self)}, {self.seconds_saved:.2f} s saved, +{format_size(self.bytes_added)}, "
            f"-{format_size(self.bytes_evicted)} evicted"
        )

    def _repr_html_(self) -> str:
        from visioncache.jupyter.table import delta_html

        return delta_html(self)


def _lookups(counts: Counters | CacheInfo) -> str:
    stored = f"{counts.store_hits} from the store, " if counts.store_hits else ""
    hits, misses = count(counts.hits, "hit"), count(counts.misses, "miss", "misses")
    return f"{hits}, {stored}{misses} ({counts.hit_rate:.0%})"


def outline(value: Any) -> tuple[tuple[int, ...], str]:
    """Shape and dtype of a value's first array; `((), "")` when it has none."""
    try:
        first = next(leaves(value), None)
    except TypeError:  # a cache with a sizer of its own may hold anything
        first = None
    if first is None:
        return (), ""
    return tuple(first.shape), str(first.dtype).removeprefix("mlx.core.")
