"""Records: an entry, a cache's counters, and the changes while one watched."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from visioncache.display import facts_html, format_seconds, lookup_facts
from visioncache.sizes import count, dtype_of, format_size, leaves

if TYPE_CHECKING:
    from collections.abc import Mapping

    from visioncache.display import Fact
    from visioncache.keys import Key
    from visioncache.lru import Slot
    from visioncache.stores.tier import StoreInfo


ENTRY_COLUMNS = ("image", "bytes", "shape", "dtype", "hits", "idle", "cost", "pinned")
"""Of `Entry.cells`."""
ENTRY_NUMBERS = ("bytes", "hits", "idle", "cost")
"""Those of them that hold numbers."""


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
    """Seconds that the value cost to compute, this once; a hit is credited its cost now."""
    pinned: bool
    meta: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, slot: Slot) -> Entry:
        """Describe what a cache holds in a slot."""
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

    @property
    def name(self) -> str:
        """Its label, or else the text of its image's key."""
        return self.label or self.key.unscoped.text

    @property
    def shape_text(self) -> str:
        """Its shape as people write it: `577 x 1024`."""
        return " \N{MULTIPLICATION SIGN} ".join(map(str, self.shape))

    def cells(self, now: float) -> tuple[str, ...]:
        """A row of a table, under `ENTRY_COLUMNS`, at a moment of the cache's clock."""
        return (
            self.name,
            format_size(self.nbytes),
            self.shape_text,
            self.dtype,
            f"{self.hits:,}",
            format_seconds(now - self.last_used),
            format_seconds(self.seconds),
            "pinned" if self.pinned else "",
        )


@dataclass(slots=True)
class Counters:
    """Count what has happened."""

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

    def facts(self) -> list[Fact]:
        """List what happened, as `(value, name)` pairs."""
        known = self.hits or self.store_hits or self.misses
        facts = [
            *lookup_facts(self.hits, self.misses, self.store_hits),
            (f"{self.hit_rate:.0%}" if known else "no", "hit rate"),
            (format_seconds(self.seconds_saved), "saved"),
            (format_size(self.bytes_added), "added"),
            (format_size(self.bytes_evicted), "evicted"),
        ]
        return [*facts, (f"{self.rejects:,}", "rejected")] if self.rejects else facts

    def copy(self) -> Counters:
        """These counts as they are now."""
        return Counters(*(getattr(self, f.name) for f in fields(Counters)))

    def since(self, earlier: Counters) -> Counters:
        """Return what has been counted since `earlier`."""
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
    """Counts of the store, when there is one."""

    @property
    def fullest(self) -> tuple[str, float]:
        """The bound that is nearest to being reached, "entries" or "bytes", and how full it is (0 to 1).

        "bytes" and 0.0 where there is no bound.
        """
        entries = self.size / self.max_size if self.max_size else 0.0
        size = self.nbytes / self.max_bytes if self.max_bytes else 0.0
        return ("entries", entries) if entries > size else ("bytes", size)

    def facts(self) -> list[Fact]:
        """The counters and what is held, as `(value, name)` pairs."""
        entries = f"{self.size:,}" + ("" if self.max_size is None else f" of {self.max_size:,}")
        held = format_size(self.nbytes)
        held += "" if self.max_bytes is None else f" of {format_size(self.max_bytes)}"
        bound, share = self.fullest
        full = f" ({share:.0%} full)" if share else ""
        facts = [
            (entries, f"entries{full if bound == 'entries' else ''}"),
            (held, f"held{full if bound == 'bytes' else ''}"),
            *lookup_facts(self.hits, self.misses, self.store_hits),
            (f"{self.hit_rate:.0%}", "hit rate"),
            (f"{self.evictions:,}", "evicted"),
            (format_seconds(self.seconds_saved), "saved"),
        ]
        return [*facts, (f"{self.rejects:,}", "rejected")] if self.rejects else facts

    def __str__(self) -> str:
        budget = "" if self.max_bytes is None else f" of {format_size(self.max_bytes)}"
        of = "" if self.max_size is None else f" of {self.max_size}"
        entries = count(self.size, "entry", "entries") if not of else f"{self.size}{of} entries"
        return (
            f"{entries}, {format_size(self.nbytes)}{budget}; "
            f"{_lookups(self)}, {self.evictions} evicted, {self.seconds_saved:.2f} s saved"
            f"{'' if self.store is None else f'; store: {self.store}'}"
        )

    def _repr_html_(self) -> str:
        return facts_html("CacheInfo", self.facts())


@dataclass(slots=True)
class Delta(Counters):
    """Collect what happens in a cache while a `watch()` is open; it grows until the watch closes."""

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
        return facts_html("Delta", [*self.facts(), (format_seconds(self.elapsed), "elapsed")])


def _lookups(counts: Counters | CacheInfo) -> str:
    stored = f"{counts.store_hits} from the store, " if counts.store_hits else ""
    hits, misses = count(counts.hits, "hit"), count(counts.misses, "miss", "misses")
    return f"{hits}, {stored}{misses}, {counts.hit_rate:.0%} hit rate"


def outline(value: Any) -> tuple[tuple[int, ...], str]:
    """Shape and dtype of a value's first array; `((), "")` when it has none."""
    try:
        first = next(leaves(value), None)
    except TypeError:  # a cache with a sizer of its own may hold anything
        first = None
    if first is None:
        return (), ""
    return tuple(first.shape), str(dtype_of(first))
