"""Tier: a store behind a cache. Values in, values out; written behind; its faults stay inside."""

from __future__ import annotations

import atexit
import threading
import time
import warnings
import weakref
from collections import OrderedDict, deque
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from visioncache.sizes import leaves, nbytes
from visioncache.stores.codec import decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from visioncache.keys import Key
    from visioncache.stores.base import Store

EXIT_SECONDS = 5.0
"""How long an interpreter that exits waits, in all, for what is still to be written."""
_MAX_OWED = 4096
_MAX_TASKS = 1 << 16
"""Removals are small, but not nothing; beyond so many the oldest is forgotten."""
_MAX_VERIFIED = 1 << 14


class StoreWarning(UserWarning):
    """A store failed, and the cache went on without it."""


class Loaded(NamedTuple):
    """A value from a store, and what was stored beside it."""

    value: Any
    label: str
    seconds: float
    meta: Any


@dataclass(slots=True)
class StoreInfo:
    """What a cache's store did since the last `reset_info`, and what is still to be written."""

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


class _Write(NamedTuple):
    key: Key
    loaded: Loaded
    held: Any
    """The value in arrays that only the queue knows."""
    nbytes: int

    @property
    def name(self) -> Hashable:
        return self.key.text

    def covers(self, key: Key) -> bool:
        return self.key == key

    def apply(self, store: Store) -> int:
        _, label, seconds, meta = self.loaded
        record = {"label": label, "seconds": seconds, "meta": meta}
        data = encode(self.held, key=self.key.text, meta=record)
        store.put(self.key, data)
        return len(data)


class _Remove(NamedTuple):
    key: Key
    nbytes: int = 0

    @property
    def name(self) -> Hashable:
        return self.key.text

    def covers(self, key: Key) -> bool:
        return self.key == key

    def apply(self, store: Store) -> int:
        store.delete(self.key)
        return 0


class _Clear(NamedTuple):
    scope: str | None
    nbytes: int = 0

    @property
    def name(self) -> Hashable:
        return ("clear", self.scope)

    def covers(self, key: Key) -> bool:
        return self.scope is None or key.scope == self.scope

    def apply(self, store: Store) -> int:
        store.clear(self.scope)
        return 0


_Task = _Write | _Remove | _Clear


class Tier:
    """A store as a cache uses it.

    What is to be written waits in one queue, in order, for one thread, which lives while there is
    something to do; whatever waits is already found by `load`. When the queue is full, the oldest
    write is dropped. A removal is never dropped: one that fails is owed, and what is owed is not
    loaded. A write that is dropped or fails becomes a removal, for an older value of its key may
    be in the store.

    Args:
        store: where to; `close` closes it.
        queue_bytes: bytes of values that may wait.
        queue_items: how many may wait.
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
        self._queue_bytes, self._queue_items = queue_bytes, queue_items
        self._report = report
        self._changed = threading.Condition()
        self._queue: OrderedDict[Hashable, _Task] = OrderedDict()
        self._current: _Task | None = None
        self._owed: OrderedDict[Hashable, _Task] = OrderedDict()
        self._overdue: deque[Key] = deque()
        """Keys of dropped writes that are still to be reported."""
        self._writes = self._waiting_bytes = 0
        self._worker: threading.Thread | None = None
        self._closed = False
        self._warned: set[tuple[str, str]] = set()
        self._verified: set[Hashable] = set()
        self._counts = StoreInfo()
        _tiers.add(self)

    # Reading --------------------------------------------------------------------------------------

    def load(self, key: Key) -> Loaded | None:
        """The value of a key, evaluated; None when the store has none or fails."""
        with self._changed:
            if self._closed:
                return None
            task = self._latest(key)
            if task is not None:
                return self._count_load(task.loaded if isinstance(task, _Write) else None, 0)
        try:
            data = self.store.get(key)
        except Exception as error:  # noqa: BLE001  # a store is anybody's code
            self._failed("get", key, error)
            return None
        if data is None:
            with self._changed:
                return self._count_load(None, 0)
        try:
            loaded = self._decoded(key, data)
        except Exception as error:  # noqa: BLE001  # whatever is in the bytes is a miss
            self._failed("decode", key, error)
            self.submit(_Remove(key))
            return None
        with self._changed:
            return self._count_load(loaded, len(data))

    def _decoded(self, key: Key, data: Any) -> Loaded:
        stamp = getattr(data, "stamp", None)
        value, text, record = decode(data, verify=stamp is None or stamp not in self._verified)
        if text != key.text:
            raise ValueError("a stored value of another key")
        if value is None or not isinstance(record, dict) or set(record) != {"label", "seconds", "meta"}:
            raise ValueError("a stored value that no cache has put")
        label, seconds, meta = record["label"], record["seconds"], record["meta"]
        if not isinstance(label, str) or type(seconds) not in {int, float} or not _is_meta(meta):
            raise ValueError("a stored value that no cache has put")
        if stamp is not None:
            if len(self._verified) >= _MAX_VERIFIED:
                self._verified.clear()
            self._verified.add(stamp)
        return Loaded(value, label, seconds, meta)

    def _latest(self, key: Key) -> _Task | None:
        """The task that decides what a key holds, newest first, if any is waiting or owed."""
        task = self._queue.get(key.text)
        # A clearing has taken everything older that it covers out of the queue.
        for name in (("clear", None), ("clear", key.scope)):
            task = task or self._queue.get(name)
        if task is None and self._current is not None and self._current.covers(key):
            task = self._current
        for owed in (key.text, ("clear", None), ("clear", key.scope)):
            task = task or self._owed.get(owed)
        return task

    def _count_load(self, loaded: Loaded | None, size: int) -> Loaded | None:
        if loaded is None:
            self._counts.misses += 1
        else:
            self._counts.hits += 1
            self._counts.bytes_read += size
        return loaded

    # Writing --------------------------------------------------------------------------------------

    def write(
        self, key: Key, value: Any, *, label: str = "", seconds: float = 0.0, meta: Any = None
    ) -> _Task:
        """What to `submit` so that a value is stored: called on the thread that made the value.

        The value's evaluation is started here if it has not been (nothing waits for it), because
        mlx evaluates an array only on a thread that has its stream.
        """
        try:
            return _Write(key, Loaded(value, label, seconds, meta), _held(value), nbytes(value))
        except Exception as error:  # noqa: BLE001  # it can't be stored; the cache has it
            self._failed("put", key, error)
            return _Remove(key)

    def remove(self, key: Key) -> None:
        """Have a key's value removed."""
        self.submit(_Remove(key))

    def clear(self, scope: str | None = None) -> None:
        """Have every value removed, or those of a scope."""
        self.submit(_Clear(scope))

    def submit(self, task: _Task) -> None:
        """Queue a task behind the others; never waits, and reports nothing itself."""
        with self._changed:
            if self._closed:
                return
            superseded = [task.name]
            if isinstance(task, _Clear):
                superseded += [
                    name
                    for name, old in self._queue.items()
                    if not isinstance(old, _Clear) and task.covers(old.key)
                ]
            for name in superseded:
                self._take(name)
            self._queue[task.name] = task
            self._waiting_bytes += task.nbytes
            self._writes += isinstance(task, _Write)
            self._drop_surplus()
            if self._worker is None:
                self._start()

    def _start(self) -> None:
        worker = threading.Thread(target=self._work, name="visioncache-store", daemon=True)
        with suppress(RuntimeError):  # no thread can be started while the interpreter goes
            worker.start()
            self._worker = worker

    def _take(self, name: Hashable) -> None:
        task = self._queue.pop(name, None)
        if task is not None:
            self._waiting_bytes -= task.nbytes
            self._writes -= isinstance(task, _Write)

    def _drop_surplus(self) -> None:
        while self._writes and (self._waiting_bytes > self._queue_bytes or self._writes > self._queue_items):
            oldest = next(task for task in self._queue.values() if isinstance(task, _Write))
            self._take(oldest.name)
            self._owe(_Remove(oldest.key))
            self._overdue.append(oldest.key)
            self._counts.dropped += 1
        while len(self._queue) > _MAX_TASKS:
            self._take(next(iter(self._queue)))
            self._counts.errors += 1

    def _owe(self, task: _Task) -> None:
        self._owed[task.name] = task
        if len(self._owed) > _MAX_OWED:
            self._owed.popitem(last=False)

    # The worker -----------------------------------------------------------------------------------

    def _work(self) -> None:
        self._settle()
        while True:
            with self._changed:
                self._current = None
                if not self._queue:
                    self._worker = None
                    self._changed.notify_all()
                    return
                task = self._current = self._queue[next(iter(self._queue))]
                self._take(task.name)
                before = self._owed.get(task.name)
                dropped, self._overdue = self._overdue, deque()
            try:
                for key in dropped:
                    self._tell("queue", key, "the queue was full, and its oldest write dropped")
                self._do(task, before)
            except Warning:
                pass  # somebody turned warnings into errors; there is no one here to raise to

    def _do(self, task: _Task, before: _Task | None) -> None:
        """Do a task; it settles what was owed for its key `before`, but nothing newer."""
        try:
            written = task.apply(self.store)
        except Exception as error:  # noqa: BLE001  # a store is anybody's code
            with self._changed:
                self._owe(_Remove(task.key) if isinstance(task, _Write) else task)
            key = None if isinstance(task, _Clear) else task.key
            self._failed("put" if isinstance(task, _Write) else "delete", key, error)
            return
        with self._changed:
            if before is not None and self._owed.get(task.name) is before:
                del self._owed[task.name]
            self._counts.writes += isinstance(task, _Write)
            self._counts.bytes_written += written
        self._settle()

    def _settle(self) -> None:
        """Try what is owed again, until it fails again."""
        while True:
            with self._changed:
                # A newer value of the same key is about to replace the old one anyway.
                task = next((task for name, task in self._owed.items() if name not in self._queue), None)
            if task is None:
                return
            try:
                task.apply(self.store)
            except Exception:  # noqa: BLE001  # it was reported when it failed first
                return
            with self._changed:
                if self._owed.get(task.name) is task:
                    del self._owed[task.name]

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until nothing is left to write; False when `timeout` seconds were not enough."""
        with self._changed:
            return self._changed.wait_for(lambda: self._worker is None, timeout)

    def close(self, timeout: float | None = EXIT_SECONDS) -> bool:
        """Flush, then close the store; what `timeout` was too short for is dropped."""
        flushed = self.flush(timeout)
        with self._changed:
            if self._closed:
                return flushed
            self._closed = True
            self._counts.dropped += self._writes
            self._queue.clear()
            self._writes = self._waiting_bytes = 0
        try:
            self.store.close()
        except Exception as error:  # noqa: BLE001  # a store is anybody's code
            self._failed("close", None, error)
        return flushed

    # Telling --------------------------------------------------------------------------------------

    def info(self) -> StoreInfo:
        """Counts since the last `reset_info`, and what waits now."""
        with self._changed:
            return replace(self._counts, queued=len(self._queue), queued_bytes=self._waiting_bytes)

    def reset_info(self) -> None:
        """Count from zero again."""
        with self._changed:
            self._counts = StoreInfo()

    def _failed(self, what: str, key: Key | None, error: Exception) -> None:
        with self._changed:
            self._counts.errors += 1
        self._tell(what, key, f"{type(error).__name__}: {error}")

    def _tell(self, what: str, key: Key | None, message: str) -> None:
        """Report every fault, and warn of the first of its kind; without the lock held."""
        if self._report is not None:
            self._report(key, f"{what}: {message}")
        kind = (what, message.partition(":")[0])
        if kind not in self._warned:
            self._warned.add(kind)
            warnings.warn(
                f"{self.store!r} failed ({what}: {message}); the cache goes on without it, and "
                "counts and logs what follows (info(), events) without a warning",
                StoreWarning,
                stacklevel=2,
            )


def _held(value: Any) -> Any:
    """A value in arrays of its own, laid out in rows, on their way to being evaluated.

    Another thread may wait for these, as nobody else has them: an array that two threads wait for
    at once is a data race inside mlx. A row-contiguous buffer is shared, not copied.
    """
    import mlx.core as mx

    own: dict[int, Any] = {}
    for leaf in leaves(value):
        if not isinstance(leaf, mx.array):
            raise TypeError(f"a store keeps mlx arrays; found {type(leaf).__name__}")
        # A GPU's stream has no float64.
        own[id(leaf)] = mx.contiguous(leaf, stream=mx.cpu if leaf.dtype == mx.float64 else None)
    mx.async_eval(list(own.values()))  # type: ignore[no-untyped-call]
    return _mapped(value, own)


def _mapped(value: Any, own: dict[int, Any]) -> Any:
    if isinstance(value, (tuple, list)):
        return type(value)([_mapped(item, own) for item in value])
    if isinstance(value, dict):
        return {name: _mapped(item, own) for name, item in value.items()}
    return None if value is None else own[id(value)]


def _is_meta(meta: Any) -> bool:
    return meta is None or isinstance(meta, dict)


_tiers: weakref.WeakSet[Tier] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Write what waits, in bounded time, before the interpreter goes."""
    deadline = time.monotonic() + EXIT_SECONDS
    for tier in list(_tiers):
        tier.close(max(0.0, deadline - time.monotonic()))
