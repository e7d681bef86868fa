"""Inspection: what a cache tells of itself. Nothing here changes what it holds."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from visioncache.costs import Costs
from visioncache.display import facts_html, table_html, table_text
from visioncache.keys import Key
from visioncache.records import ENTRY_COLUMNS, ENTRY_NUMBERS, CacheInfo, Counters, Delta, Entry
from visioncache.sizes import count, format_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from visioncache.events import Event, EventLog
    from visioncache.journal import Journal
    from visioncache.lru import LRU, Slot
    from visioncache.stores.tier import Tier

ROWS = 20
"""Entries that a static table lists; the others are counted."""


class Inspectable:
    """A cache as it is looked at: entries, counters, events, a table.

    Args:
        lru: what is held.
        journal: what happened.
        clock: seconds.
    """

    def __init__(self, lru: LRU, journal: Journal, clock: Callable[[], float]) -> None:
        self._lru = lru
        self._journal = journal
        self._clock = clock
        self._lock = threading.RLock()
        self._totals, self._baseline = Counters(), Counters()
        self._costs = Costs()
        self._tier: Tier | None = None

    def __len__(self) -> int:
        return len(self._lru.slots)

    @property
    def events(self) -> EventLog:
        """The latest events, oldest first."""
        return self._journal.events

    def now(self) -> float:
        """Seconds, by the cache's clock: what the times of entries and events are compared with."""
        return self._clock()

    @property
    def is_stored(self) -> bool:
        """Tell if there is a second tier, which may outlive this process."""
        return self._tier is not None

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self._lru.nbytes

    def keys(self) -> list[Key]:
        """Keys from least to most recently used."""
        with self._lock:
            return [slot.key for slot in self._lru.by_recency()]

    def entries(self) -> list[Entry]:
        """List what is held, from least to most recently used."""
        with self._lock:
            return [Entry.of(slot) for slot in self._lru.by_recency()]

    def entry(self, source: Any) -> Entry | None:
        """Return what is held for one image, without refreshing it; None when nothing is."""
        with self._lock:
            slot = self._slot(source)
            return None if slot is None else Entry.of(slot)

    def info(self) -> CacheInfo:
        """Counters since the last `reset_info`, and what is held now."""
        with self._lock:
            counts = self._totals.since(self._baseline)
            return CacheInfo(
                counts.hits,
                counts.misses,
                counts.puts,
                counts.evictions,
                counts.rejects,
                len(self._lru.slots),
                self._lru.max_size,
                self._lru.nbytes,
                self._lru.max_bytes,
                counts.hit_rate,
                counts.seconds_saved,
                counts.store_hits,
                None if self._tier is None else self._tier.info(),
            )

    def reset_info(self) -> None:
        """Start the counters of `info()` from zero; entries and events stay."""
        with self._lock:
            self._baseline = self._totals.copy()
            if self._tier is not None:
                self._tier.reset_info()

    @contextmanager
    def watch(self) -> Iterator[Delta]:
        """`with cache.watch() as delta:` is what happened inside; complete when the block ends."""
        with self._lock:
            before, held, start = self._totals.copy(), self._lru.nbytes, self._clock()
        delta = Delta()
        try:
            yield delta
        finally:
            with self._lock:
                delta.fill(self._totals.since(before), self._lru.nbytes - held, self._clock() - start)

    def subscribe(self, subscriber: Callable[[Event], object]) -> Callable[[], None]:
        """Call `subscriber(event)` after every event, on the thread that caused it.

        One that raises is reported once, as a warning, and never breaks an operation. Returns the
        unsubscribe.
        """
        return self._journal.subscribe(subscriber)

    def tag(self, **tags: Any) -> AbstractContextManager[None]:
        """`with cache.tag(session="album", turn=3):` marks this thread's (or task's) events."""
        return self._journal.tag(tags)

    @property
    def tags(self) -> Mapping[str, Any]:
        """Return what this thread's (or task's) events are marked with now."""
        return self._journal.tags

    def to_html(self, note: str = "") -> str:
        """Write its counters, a note, and a table of the entries used last, the latest first."""
        facts = facts_html(type(self).__name__, self.info().facts(), note)
        rows, hidden = self._latest()
        caption = "Entries, most recently used first" + (
            f" ({hidden} older ones not shown)" if hidden else ""
        )
        return facts + table_html(ENTRY_COLUMNS, rows, caption, ENTRY_NUMBERS) if rows else facts

    def to_text(self) -> str:
        """Write what `to_html` shows as lines of text."""
        rows, hidden = self._latest()
        lines = [str(self.info()), *([table_text(ENTRY_COLUMNS, rows, ENTRY_NUMBERS)] if rows else [])]
        return "\n".join([*lines, f"... and {hidden} older ones"] if hidden else lines)

    def _latest(self) -> tuple[list[tuple[str, ...]], int]:
        """Rows of the entries used last, the latest first, and how many more entries there are."""
        keys = self.keys()
        found = [self.entry(key) for key in reversed(keys[-ROWS:])]
        return [entry.cells(self.now()) for entry in found if entry is not None], max(0, len(keys) - ROWS)

    def _repr_html_(self) -> str:
        return self.to_html()

    def __repr__(self) -> str:
        lru = self._lru
        entries = count(len(self), "entry", "entries")
        if lru.max_size is not None:
            entries = f"{len(self)} of {lru.max_size} entries"
        budget = "" if lru.max_bytes is None else f" of {format_size(lru.max_bytes)}"
        store = "" if self._tier is None else f", store={self._tier.store!r}"
        return f"{type(self).__name__}({entries}, {format_size(lru.nbytes)}{budget}{store})"

    def _slot(self, source: Any) -> Slot | None:
        return self._lru.slots.get(Key.of(source).text)
