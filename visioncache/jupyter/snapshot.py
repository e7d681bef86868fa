"""Snapshots: what a page needs to draw a cache, and no more, as plain JSON."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from unicodedata import normalize

from blake3 import blake3

from visioncache.about import kind_of, number_of
from visioncache.recent import Recent
from visioncache.sizes import parse_size

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from visioncache.cache import VisionFeatureCache
    from visioncache.events import Event
    from visioncache.keys import Key
    from visioncache.records import CacheInfo, Entry

Sort = Literal["recency", "bytes", "hits"]
SORTS: tuple[Sort, ...] = ("recency", "bytes", "hits")

WINDOW = 48
"""Entries drawn at once; the others are counted."""

_NAMED = 6
"""Events of one message that are told by name; the others are counted."""


class History:
    """Hits (those from a store too), misses and bytes over the last minutes, in buckets of equal length."""

    seconds = 1.0
    buckets = 300

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: deque[list[int]] = deque(maxlen=self.buckets)
        self._hits = self._misses = 0

    def add(self, info: CacheInfo) -> None:
        """Note the counters as they are now; those of a cache that was reset start over."""
        bucket = int(self._clock() / self.seconds)
        answered = info.hits + info.store_hits
        if answered < self._hits or info.misses < self._misses:
            self._hits = self._misses = 0
        hits, misses = answered - self._hits, info.misses - self._misses
        self._hits, self._misses = answered, info.misses
        if self._buckets and self._buckets[-1][0] == bucket:
            last = self._buckets[-1]
            last[1:] = [last[1] + hits, last[2] + misses, info.nbytes]
        else:
            self._buckets.append([bucket, hits, misses, info.nbytes])

    def rows(self) -> list[list[int]]:
        """`[buckets ago, hits, misses, bytes]`, oldest first."""
        now = int(self._clock() / self.seconds)
        return [[now - bucket, *rest] for bucket, *rest in self._buckets if 0 <= now - bucket < self.buckets]


class Names:
    """Short names for keys on the page, and the way back, for the keys that were shown last."""

    capacity = 2048

    def __init__(self) -> None:
        self._keys: Recent[str, Key] = Recent(self.capacity)

    def name(self, key: Key) -> str:
        """A key's short name."""
        name = blake3(key.text.encode("utf-8", "surrogatepass")).hexdigest(length=8)
        self._keys[name] = key
        return name

    def key(self, name: object) -> Key | None:
        """The key that was shown under a name."""
        return self._keys.get(name) if isinstance(name, str) else None


@dataclass(frozen=True)
class Filter:
    """Which entries a page wants to see; without a word, all."""

    text: str = ""
    """Words, each of which a name or kind holds, whatever its case."""
    min_bytes: int = 0
    min_hits: int = 0
    pinned: bool = False

    @classmethod
    def of(cls, asked: Mapping[str, Any]) -> Filter:
        """Read what a page sent; what makes no sense filters nothing."""
        hits = asked.get("hits")
        try:
            size = parse_size(str(asked.get("bytes") or 0))
        except ValueError:
            size = 0
        text = normalize("NFC", str(asked.get("text") or "")[:200]).casefold().strip()
        return cls(text, size, hits if type(hits) is int else 0, asked.get("pinned") is True)

    def keeps(self, entry: Entry) -> bool:
        """Tell if an entry is wanted."""
        if entry.nbytes < self.min_bytes or entry.hits < self.min_hits or (self.pinned and not entry.pinned):
            return False
        name = normalize("NFC", f"{entry.name} {kind_of(entry.meta)}").casefold() if self.text else ""
        return all(word in name for word in self.text.split())


ALL = Filter()


def window(
    cache: VisionFeatureCache, sort: Sort, start: int | None, count: int = WINDOW, wanted: Filter = ALL
) -> tuple[int, int, list[Entry]]:
    """Find where a window starts, how many entries there are in all, and those from `start` on.

    By recency the most recent come last, and `start=None` is the end; by bytes or hits the most
    come first, and it is the beginning. A window by recency costs little however many are held.
    """
    if sort == "recency" and wanted == ALL:
        keys = cache.keys()
        start = max(0, min(len(keys) - count, len(keys) if start is None else start))
        found = (cache.entry(key) for key in keys[start : start + count])
        return start, len(keys), [entry for entry in found if entry is not None]
    entries = [entry for entry in cache.entries() if wanted.keeps(entry)]
    if sort != "recency":
        entries.reverse()  # equals stay most recent first
        entries.sort(key=lambda entry: -(entry.nbytes if sort == "bytes" else entry.hits))
    default = len(entries) if sort == "recency" else 0
    start = max(0, min(len(entries) - count, default if start is None else start))
    return start, len(entries), entries[start : start + count]


def snapshot(
    cache: VisionFeatureCache,
    names: Names,
    *,
    sort: Sort = "recency",
    start: int | None = None,
    wanted: Filter = ALL,
    now: float,
) -> tuple[dict[str, Any], list[Entry]]:
    """A page's view of a cache at `now` by the cache's clock, and the entries that it draws."""
    first, matched, entries = window(cache, sort, start, wanted=wanted)
    info = cache.info()
    view = {
        "size": info.size,
        "max_size": info.max_size,
        "nbytes": info.nbytes,
        "max_bytes": info.max_bytes,
        "fullest": info.fullest[0],
        "hits": info.hits,
        "store_hits": info.store_hits,
        "misses": info.misses,
        "evictions": info.evictions,
        "seconds_saved": info.seconds_saved,
        "sort": sort,
        "start": first,
        "matched": matched,
        "filtered": wanted != ALL,
        "following": start is None,
        "entries": [_row(entry, names, now) for entry in entries],
    }
    return view, entries


def news(events: Sequence[Event], names: Names) -> dict[str, Any]:
    """Count what happened since the last message: how often each kind, and some of it by name."""
    told: dict[str, Any] = {"counts": {}, "hit": [], "evict": []}
    for event in events:
        told["counts"][event.kind] = told["counts"].get(event.kind, 0) + 1
        if event.kind in ("hit", "evict") and event.key is not None:
            told[event.kind].append(
                {"id": names.name(event.key), "label": event.name, "nbytes": event.nbytes}
            )
    told["hit"], told["evict"] = told["hit"][-_NAMED:], told["evict"][-_NAMED:]
    return told


def _row(entry: Entry, names: Names, now: float) -> dict[str, Any]:
    return {
        "id": names.name(entry.key),
        "label": entry.name[-200:],
        "nbytes": entry.nbytes,
        "shape": entry.shape_text,
        "dtype": entry.dtype,
        "hits": entry.hits,
        "used": round(now - entry.last_used, 1),
        "stored": round(now - entry.created, 1),
        "seconds": round(entry.seconds, 4),
        "pinned": entry.pinned,
        "key": entry.key.unscoped.text[:48],
        "kind": kind_of(entry.meta),
        "tokens": number_of(entry.meta, "tokens"),
        "images": number_of(entry.meta, "images"),
    }
