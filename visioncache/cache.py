"""VisionFeatureCache: vision features by image, bounded by entries and bytes, LRU first out."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from visioncache.about import check_extras, event_facts, label_of, number_of
from visioncache.flight import Flights
from visioncache.inspection import Inspectable
from visioncache.journal import Journal
from visioncache.keys import SOURCE_TAG, Key
from visioncache.limits import positive_bytes, positive_entries, within
from visioncache.lru import LRU, Slot
from visioncache.sizes import format_size, nbytes, parse_size

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping
    from typing import Self

    from visioncache.events import Event, Kind
    from visioncache.stores.base import Store
    from visioncache.stores.tasks import Loaded
    from visioncache.stores.tier import Tier

    Found = tuple[Any, Mapping[str, Any] | None]

T = TypeVar("T")

_KEEP: Any = object()
"""Stands for a bound that `resize` leaves as it is."""


class VisionFeatureCache(Inspectable):
    """An LRU cache of vision features: bounded in entries and bytes, inspectable, thread-safe.

    A drop-in for `mlx_vlm.vision_cache.VisionFeatureCache`. It takes as an image what `Key.of`
    takes. It never copies or casts, and without a store never evaluates: `get` returns the very object that
    `put` stored. `get`, `put` and `pop` are O(1) besides hashing (amortised; O(log n) where a pin was
    lifted), and an operation either happens or leaves the cache as it was.

    A copy, a deep copy and a pickle of it are caches of their own with its settings (the store's folder or
    server is the same one) and no entries, counts or subscribers, as a worker process wants it.

    With a `store`, evicted entries stay there: a look-up that memory can't answer asks the store
    before it is a miss. A background thread writes there what memory took (its evaluation is started, by
    `mx.async_eval`). A store that fails is a miss, a `store-error` event and one
    warning. `in`, `len`, `peek`, `keys` and `entries` are about memory alone.

    Args:
        max_size: entries held at most; None for no such bound.
        max_bytes: bytes held at most, as a number or as text ("2 GiB", "500MB"); "auto" for a
            quarter of what the device can hold; None for no bound.
        store: a second tier: a folder ("features/"), a URL ("redis://host/0") or a `Store`.
        log: how many events `cache.events` keeps.
        clock: seconds, as `time.monotonic` gives them.
        sizer: bytes of a value.

    Raises:
        ValueError: a bound that is not positive, or that is not a size.
    """

    def __init__(
        self,
        max_size: int | None = 20,
        max_bytes: float | str | None = None,
        *,
        store: Store | str | os.PathLike[str] | None = None,
        log: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
        sizer: Callable[[Any], int] = nbytes,
    ) -> None:
        super().__init__(LRU(positive_entries(max_size), positive_bytes(max_bytes)), Journal(log), clock)
        self._sizer = sizer
        self._flights = Flights()
        self._removals = 0
        """Counts pops and clears: a value that was being loaded meanwhile is not stored again."""
        self._log, self._publish = self._journal.note, self._journal.tell
        if store is not None:
            from visioncache.stores.tier import Tier

            self._tier = Tier.of(store, self._store_failed)

    def __reduce__(self) -> tuple[Any, ...]:
        settings: dict[str, Any] = {
            "max_size": self.max_size,
            "max_bytes": self.max_bytes,
            "store": None if self._tier is None else self._tier.store,
            "log": self.events.maxlen,
            "clock": self._clock,
            "sizer": self._sizer,
        }
        return partial(type(self), **settings), ()

    # Looking up ---------------------------------------------------------------------------------

    def get(self, source: Any) -> Any | None:
        """The value stored for an image, now the most recently used; None on a miss."""
        # A hit needs no Key object; making one would be a third of its time.
        found = self._find(SOURCE_TAG + source if type(source) is str else Key.of(source).text)
        return None if found is None else found[0]

    def _get_with_meta(self, source: Any) -> tuple[Any, Mapping[str, Any] | None] | None:
        """As `get`, with what was stored beside the value; None on a miss."""
        return self._find(Key.of(source).text)

    def _find(self, text: str) -> Found | None:
        now = self._clock()
        with self._lock:
            slot = self._lru.slots.get(text)
            if slot is not None:
                slot.hits += 1
                self._totals.hits += 1
                saved = slot.saved
                self._totals.seconds_saved += saved
                self._lru.touch(slot, now)
                event = self._log(now, "hit", slot.key, slot.label, slot.nbytes, saved, slot.about)
                found: Found | None = slot.value, slot.meta
            elif self._tier is None:
                self._totals.misses += 1
                event = self._log(now, "miss", Key(text))
                found = None
        if slot is None and self._tier is not None:
            return self._find_stored(Key(text), self._tier)
        if self._journal.subscribers:
            self._publish(event)
        return found

    def _find_stored(self, key: Key, tier: Tier) -> Found | None:
        """Load an image's value from the store into memory; one caller asks it, whoever else waits."""

        def lead() -> Found | None:
            removals = self._removals
            loaded = tier.load(key)
            return None if loaded is None else self._promote(key, loaded, removals)

        found, led = self._flights.run(f"store {key.text}", lead)
        if found is not None:
            return found if led else self._find(key.text)
        with self._lock:
            self._totals.misses += 1
            event = self._log(self._clock(), "miss", key)
        self._publish(event)
        return None

    def _promote(self, key: Key, loaded: Loaded, removals: int) -> Found:
        """Keep the loaded value in memory, unless it was removed or replaced while it was being loaded."""
        value, label, seconds, meta = loaded
        size = self._sizer(value)
        now = self._clock()
        victims: list[Slot] = []
        with self._lock:
            slot = self._lru.slots.get(key.text)
            if slot is not None:
                value, meta, size = slot.value, slot.meta, slot.nbytes
            elif removals == self._removals and self._lru.fits(size, None):
                victims = self._hold(None, key, value, size, label, seconds, meta, now)
                self._totals.bytes_added += size
            self._totals.store_hits += 1
            saved = self._costs.estimate(key, seconds, meta)
            self._totals.seconds_saved += saved
            events = [self._evicted(victim, now) for victim in victims]
            events.append(self._log(now, "store-hit", key, label, size, saved, event_facts(meta)))
        self._publish(*events)
        return value, meta

    def peek(self, source: Any, default: Any = None) -> Any:
        """The value stored for an image, without refreshing or counting it; `default` on a miss."""
        with self._lock:
            slot = self._slot(source)
            return default if slot is None else slot.value

    def get_or_compute(
        self,
        source: Any,
        compute: Callable[[], T],
        *,
        label: str | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> T:
        """The value stored for an image, computed and stored first when there is none.

        However many threads ask at once, `compute` runs once; the others wait for its value. If it
        raises, all of them get the exception and nothing is stored.

        Raises:
            RuntimeError: `compute` asks, directly or through other threads, for its own image.
        """
        key = Key.of(source)
        name = label_of(source) if label is None else label

        def lead() -> T:
            found: T | None = self.get(key)
            return self._compute(key, compute, name, meta) if found is None else found

        if key in self:
            found: T | None = self.get(key)
            if found is not None:
                return found
        value, led = self._flights.run(key.text, lead)
        if not led:
            self.get(key)  # whoever waited for the leader's value has hit it
        return value

    def _fill(
        self,
        source: Any,
        compute: Callable[[], T],
        *,
        label: str | None = None,
        meta: Mapping[str, Any] | None = None,
        seconds: float = 0.0,
    ) -> T:
        """Compute and store what a `get` has just missed; `get_or_compute` without the look-up.

        `seconds` is what was spent on the value before, and is added to its cost.
        """
        key = Key.of(source)
        name = label_of(source) if label is None else label

        def lead() -> T:
            found: T | None = self.peek(key)  # stored by another thread since the miss
            if found is None and self._tier is not None and self._flights.landed(key.text):
                loaded = self._tier.load(key)  # and evicted again
                found = None if loaded is None else loaded.value
            return self._compute(key, compute, name, meta, seconds) if found is None else found

        return self._flights.run(key.text, lead)[0]

    def _compute(
        self,
        key: Key,
        compute: Callable[[], T],
        label: str,
        meta: Mapping[str, Any] | None,
        seconds: float = 0.0,
    ) -> T:
        start = self._clock()
        value = compute()
        seconds += self._clock() - start
        self.put(key, value, label=label, seconds=seconds, meta=meta)
        return value

    def __contains__(self, source: Any) -> bool:
        return Key.of(source).text in self._lru.slots

    # Storing and dropping -----------------------------------------------------------------------

    def put(
        self,
        source: Any,
        features: Any,
        *,
        label: str | None = None,
        seconds: float = 0.0,
        meta: Mapping[str, Any] | None = None,
    ) -> bool:
        """Store a value as the most recently used, evicting the least recently used to make room.

        Overwriting refreshes the entry and never evicts another one. Returns False, and changes
        nothing, when the value cannot fit: it is larger than `max_bytes`, all the others are
        pinned, or an overwrite outgrows the budget.

        Raises:
            TypeError: the value is None, or holds something that is not an array; or `label` is not
                text, `seconds` no number, `meta` no mapping.
            ValueError: `seconds` is negative or not finite.
        """
        key = Key.of(source)
        if features is None:
            raise TypeError("None can't be stored: it is what a miss returns")
        check_extras(label, seconds, meta)
        size = self._sizer(features)
        label = label_of(source) if label is None else label
        tier = self._tier
        task = None if tier is None else tier.write(key, features, label=label, seconds=seconds, meta=meta)
        now = self._clock()
        lru = self._lru
        victims: list[Slot] = []
        with self._lock:
            slot = lru.slots.get(key.text)
            if stored := lru.fits(size, slot):
                victims = self._hold(slot, key, features, size, label, seconds, meta, now)
                if tier is not None and task is not None:
                    tier.submit(task)
                self._costs.learn(key, seconds, meta)
                self._totals.puts += 1
                self._totals.bytes_added += size
                key = lru.slots[key.text].key
            else:
                self._totals.rejects += 1
            events = [self._evicted(victim, now) for victim in victims]
            kind: Kind = "put" if stored else "reject"
            events.append(self._log(now, kind, key, label, size, seconds, event_facts(meta)))
        self._publish(*events)
        return stored

    def pop(self, source: Any, default: Any = None) -> Any:
        """Remove an entry, pinned or not, and return its value; `default` when there is none.

        It is removed from the store too; one that only the store has is not loaded for that.
        """
        key = Key.of(source)
        now = self._clock()
        with self._lock:
            self._removals += 1
            if self._tier is not None:
                self._tier.remove(key)
            slot = self._lru.slots.get(key.text)
            if slot is None:
                return default
            self._lru.remove(slot)
            event = self._log(now, "pop", slot.key, slot.label, slot.nbytes, about=slot.about)
        self._publish(event)
        return slot.value

    def clear(self) -> None:
        """Remove every entry, pinned ones and those of the store too; bounds and counters stay."""
        now = self._clock()
        with self._lock:
            self._removals += 1
            if self._tier is not None:
                self._tier.clear()
            event = self._log(now, "clear", size=self._lru.nbytes)
            held = self._lru.clear()
        self._publish(event)
        del held  # the arrays are freed here, where no other thread waits for the lock

    def pin(self, source: Any) -> bool:
        """Keep an entry from being evicted; False when there is none."""
        with self._lock:
            slot = self._slot(source)
            if slot is not None:
                self._lru.pin(slot)
            return slot is not None

    def unpin(self, source: Any) -> bool:
        """Let an entry be evicted again, at the recency that it has; False when there is none."""
        with self._lock:
            slot = self._slot(source)
            if slot is not None:
                self._lru.unpin(slot)
            return slot is not None

    def refresh(self, sources: Iterable[Any]) -> None:
        """Mark the held ones of these as just used, in this order, the last one most; counters stay."""
        texts = [Key.of(source).text for source in sources]
        now = self._clock()
        with self._lock:
            for text in texts:
                slot = self._lru.slots.get(text)
                if slot is not None:
                    self._lru.touch(slot, now)

    def resize(self, max_size: int | None = _KEEP, max_bytes: float | str | None = _KEEP) -> None:
        """Change either bound, evicting what no longer fits.

        Raises:
            ValueError: a bound that is not positive, or smaller than what is pinned.
        """
        lru = self._lru
        now = self._clock()
        with self._lock:
            entries = lru.max_size if max_size is _KEEP else positive_entries(max_size)
            budget = lru.max_bytes if max_bytes is _KEEP else positive_bytes(max_bytes)
            if not (within(lru.pinned, entries) and within(lru.pinned_bytes, budget)):
                raise ValueError(
                    f"{lru.pinned} pinned entries hold {format_size(lru.pinned_bytes)}, more "
                    f"than max_size={entries}, max_bytes={budget}; unpin or pop some first"
                )
            lru.max_size, lru.max_bytes = entries, budget
            victims = lru.make_room()
            events = [self._evicted(victim, now) for victim in victims]
            events.append(self._log(now, "resize", size=budget or 0))
        self._publish(*events)

    def trim(self, nbytes: float | str) -> int:
        """Evict so many bytes, oldest first, or all that is not pinned; return how many were evicted."""
        now = self._clock()
        with self._lock:
            victims = self._lru.release(parse_size(nbytes))
            events = [self._evicted(victim, now) for victim in victims]
        self._publish(*events)
        return sum(victim.nbytes for victim in victims)

    @property
    def max_size(self) -> int | None:
        """Entries held at most; assigning is `resize(max_size=...)`."""
        return self._lru.max_size

    @max_size.setter
    def max_size(self, entries: int | None) -> None:
        self.resize(max_size=entries)

    @property
    def max_bytes(self) -> int | None:
        """Bytes held at most; assigning is `resize(max_bytes=...)`."""
        return self._lru.max_bytes

    @max_bytes.setter
    def max_bytes(self, size: float | str | None) -> None:
        self.resize(max_bytes=size)

    # The store ----------------------------------------------------------------------------------

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything put is in the store; False when `timeout` seconds were too few."""
        return self._tier is None or self._tier.flush(timeout)

    def close(self, timeout: float | None = 5.0) -> bool:
        """Flush and let go of the store; what memory holds stays usable. False if `timeout` was too short."""
        return self._tier is None or self._tier.close(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _store_failed(self, key: Key | None, message: str) -> None:
        with self._lock:
            event = self._log(self._clock(), "store-error", key, message)
        self._publish(event)

    # Inside, with the lock held -----------------------------------------------------------------

    def _hold(
        self,
        slot: Slot | None,
        key: Key,
        value: Any,
        size: int,
        label: str,
        seconds: float,
        meta: Mapping[str, Any] | None,
        now: float,
    ) -> list[Slot]:
        """Put a value that fits into its slot, or a new one; returns the slots that were evicted for it."""
        slot, victims = self._lru.hold(slot, key, size, now)
        slot.value, slot.label, slot.meta, slot.about = value, label, meta, event_facts(meta)
        slot.seconds, slot.created, slot.tokens = seconds, now, number_of(meta, "tokens")
        slot.rate = self._costs.rate(key, meta)
        return victims

    def _evicted(self, slot: Slot, now: float) -> Event:
        self._totals.evictions += 1
        self._totals.bytes_evicted += slot.nbytes
        return self._log(now, "evict", slot.key, slot.label, slot.nbytes, slot.seconds, slot.about)
