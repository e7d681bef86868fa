"""Tier: a store behind a cache. Values in, values out; written behind; its faults stay inside."""

from __future__ import annotations

import atexit
import os
import threading
import time
import warnings
import weakref
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from visioncache.sizes import format_size, nbytes
from visioncache.stores import open_store
from visioncache.stores.base import Store, StoreError
from visioncache.stores.behind import WriteBehind
from visioncache.stores.codec import Stored, decode
from visioncache.stores.tasks import Clear, Loaded, Remove, Task, Write, held

if TYPE_CHECKING:
    from collections.abc import Callable

    from visioncache.keys import Key

EXIT_SECONDS = 5.0
"""How long an interpreter that exits waits, in all, for what is still to be written."""


class StoreWarning(UserWarning):
    """A store failed, and the cache went on without it."""


@dataclass(slots=True)
class StoreInfo:
    """Count what a cache's store did since the last `reset_info`, and what is still to be written."""

    hits: int = 0
    misses: int = 0
    errors: int = 0
    writes: int = 0
    dropped: int = 0
    """Writes that the queue had no room for."""
    bytes_read: int = 0
    bytes_written: int = 0
    queued: int = 0
    queued_bytes: int = 0

    def since(self, earlier: StoreInfo) -> StoreInfo:
        """Return what has happened since `earlier`."""
        return StoreInfo(*(getattr(self, f.name) - getattr(earlier, f.name) for f in fields(self)))

    def __str__(self) -> str:
        return (
            f"{self.hits} hits ({format_size(self.bytes_read)}), {self.misses} misses, "
            f"{self.writes} writes ({format_size(self.bytes_written)}), {self.queued} waiting, "
            f"{self.dropped} dropped, {self.errors} errors"
        )


class Tier:
    """A store as a cache uses it: `load` now, write behind, and never raise.

    What waits to be written is found by `load`, and what waits to be removed is not, or is owed
    because the store failed.

    Args:
        store: where to; `close` closes it.
        queue_bytes: bytes of values that may wait to be written; beyond it the oldest is dropped.
        queue_items: how many values may wait.
        report: called with a key (or None) and a sentence for every fault, on the thread that met it.
    """

    def __init__(
        self,
        store: Store,
        *,
        queue_bytes: int = 256 << 20,
        queue_items: int = 1024,
        report: Callable[[Key | None, str], object] | None = None,
    ) -> None:
        self.store = store
        self._behind = WriteBehind(store, queue_bytes, queue_items, self._failed)
        self._report = report
        self._lock = threading.Lock()
        self._closed = False
        self._hits = self._misses = self._errors = self._bytes_read = 0
        self._warned: set[tuple[str, str]] = set()
        self._baseline = StoreInfo()
        _tiers.add(self)

    @classmethod
    def of(cls, store: Store | str | os.PathLike[str], report: Callable[[Key | None, str], object]) -> Tier:
        """A tier of a store, or of what `open_store` makes of a path or URL."""
        if isinstance(store, (str, os.PathLike)):
            store = open_store(store)
        if not isinstance(store, Store):
            raise TypeError(f"store={store!r}: a folder, a URL, or an object with the methods of Store")
        return cls(store, report=report)

    # Reading --------------------------------------------------------------------------------------

    def load(self, key: Key) -> Loaded | None:
        """The value of a key, evaluated; None when the store has none or fails."""
        if self._closed:
            return None
        task = self._behind.latest(key)
        if task is not None:
            return self._counted(task.loaded if isinstance(task, Write) else None, 0)
        try:
            found = self.store.get(key)
            # In memory of its own: what a store has mapped may change while it is checked.
            data = None if found is None else bytes(found)
        except Exception as error:  # noqa: BLE001  # a store is anybody's code
            self._failed("get", key, error)
            return self._counted(None, 0)
        if data is None:
            return self._counted(None, 0)
        try:
            loaded = checked(key, decode(data))
        except Exception as error:  # noqa: BLE001  # whatever the bytes are, they are a miss
            self.remove(key)
            self._failed("decode", key, error)
            return self._counted(None, 0)
        return self._counted(loaded, len(data))

    def _counted(self, loaded: Loaded | None, size: int) -> Loaded | None:
        with self._lock:
            self._hits += loaded is not None
            self._misses += loaded is None
            self._bytes_read += size
        return loaded

    # Writing --------------------------------------------------------------------------------------

    def write(self, key: Key, value: Any, *, label: str = "", seconds: float = 0.0, meta: Any = None) -> Task:
        """Return the task to `submit` so that a value is stored: called on the thread that made the value.

        The value's evaluation is started here if it has not been (nothing waits for it), because
        mlx evaluates an array only on a thread that has its stream.
        """
        try:
            beside = None if meta is None else dict(meta)
            return Write(key, Loaded(value, label, seconds, beside), held(value), nbytes(value))
        except Exception as error:  # noqa: BLE001  # it can't be stored; the cache has it
            self._failed("put", key, error)
            return Remove(key)

    def remove(self, key: Key) -> None:
        """Have a key's value removed."""
        self.submit(Remove(key))

    def clear(self, scope: str | None = None) -> None:
        """Have every value removed, or those of a scope."""
        self.submit(Clear(scope))

    def submit(self, task: Task) -> None:
        """Queue what `write` made, or another task; never waits, and reports nothing itself."""
        self._behind.submit(task)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until nothing is left to write; False when `timeout` seconds were not enough."""
        return self._behind.flush(timeout)

    def close(self, timeout: float | None = EXIT_SECONDS) -> bool:
        """Flush, then close the store; what `timeout` was too short for is dropped."""
        flushed = self._behind.flush(timeout)
        if not self._closed:
            self._closed = True
            self._behind.stop()
            try:
                self.store.close()
            except Exception as error:  # noqa: BLE001  # a store is anybody's code
                self._failed("close", None, error)
        return flushed

    # Telling --------------------------------------------------------------------------------------

    def info(self) -> StoreInfo:
        """Counts since the last `reset_info`, and what waits now."""
        return self._totals().since(self._baseline)

    def reset_info(self) -> None:
        """Count from zero again."""
        self._baseline = replace(self._totals(), queued=0, queued_bytes=0)

    def _totals(self) -> StoreInfo:
        behind = self._behind
        return StoreInfo(
            self._hits,
            self._misses,
            self._errors,
            behind.writes,
            behind.dropped,
            self._bytes_read,
            behind.bytes_written,
            len(behind),
            behind.bytes_waiting,
        )

    def _failed(self, what: str, key: Key | None, error: Exception) -> None:
        """Report every fault, and warn of the first of its kind."""
        message = (
            f"{what}: {error}"
            if isinstance(error, StoreError)
            else f"{what}: {type(error).__name__}: {error}"
        )
        kind = (what, type(error).__name__)
        with self._lock:
            self._errors += 1
            is_new = kind not in self._warned
            self._warned.add(kind)
        if self._report is not None:
            self._report(key, message)
        if is_new:
            with suppress(Warning):  # where warnings are errors, this is still not the look-up's
                warnings.warn(
                    f"{self.store!r} failed: {message.rstrip('.')}. The cache goes on without it; what "
                    "follows is counted in info() and logged in events",
                    StoreWarning,
                    stacklevel=2,
                )


def checked(key: Key, stored: Stored) -> Loaded:
    """A stored value, when it is one that a cache put under a key; else ValueError."""
    if stored.key != key.text:
        raise ValueError("a stored value of another key")
    record = stored.meta
    if stored.value is None or not isinstance(record, dict) or set(record) != {"label", "seconds", "meta"}:
        raise ValueError("a stored value that no cache has put")
    label, seconds, meta = record["label"], record["seconds"], record["meta"]
    if not isinstance(label, str) or type(seconds) not in {int, float} or not isinstance(meta, dict | None):
        raise ValueError("a stored value that no cache has put")
    return Loaded(stored.value, **record)


_tiers: weakref.WeakSet[Tier] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Write what waits, in bounded time, before the interpreter goes."""
    deadline = time.monotonic() + EXIT_SECONDS
    for tier in list(_tiers):
        tier.close(max(0.0, deadline - time.monotonic()))
