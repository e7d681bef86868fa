"""WriteBehind: what a store is still to be told, in one bounded queue that one thread works off."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from contextlib import suppress
from typing import TYPE_CHECKING

from visioncache.stores.base import StoreError
from visioncache.stores.tasks import Clear, Remove, Task, Write

if TYPE_CHECKING:
    from collections.abc import Callable

    from visioncache.keys import Key
    from visioncache.stores.base import Store
    from visioncache.stores.tasks import Name

_MAX_OWED = 4096
_MAX_TASKS = 1 << 16
"""Removals are small, but not nothing; beyond so many the oldest is forgotten."""


class WriteBehind:
    """Tasks for a store, in order, for a thread that lives while there is something to do.

    A task replaces what waits for the same key. When there is no room, the oldest write is dropped.
    A removal is never dropped: one that fails is owed, and tried again when the store works. A
    write that is dropped or fails becomes a removal, for an older value may be in the store.

    Args:
        store: what the tasks are for.
        queue_bytes: bytes of values that may wait.
        queue_items: how many values may wait.
        failed: called on the thread with what was to be done, to which key, and why it was not.
    """

    def __init__(
        self,
        store: Store,
        queue_bytes: int,
        queue_items: int,
        failed: Callable[[str, Key | None, Exception], object],
    ) -> None:
        self._store = store
        self._queue_bytes, self._queue_items = queue_bytes, queue_items
        self._failed = failed
        self._changed = threading.Condition()
        self._queue: OrderedDict[Name, Task] = OrderedDict()
        self._current: Task | None = None
        self._settled: Task | None = None
        """Owed for the current task's key before: doing the task settles it."""
        self._owed: OrderedDict[Name, Task] = OrderedDict()
        self._unreported: deque[Key] = deque()
        """Keys of dropped writes that are still to be reported."""
        self._worker: threading.Thread | None = None
        self._closed = False
        self.writes_waiting = self.bytes_waiting = 0
        self.writes = self.bytes_written = self.dropped = 0

    def latest(self, key: Key) -> Task | None:
        """The task that decides what a key holds, newest first, if any is waiting or owed."""
        with self._changed:
            owed = self._owed.get(key.text)
            task = self._queue.get(key.text)
            # A clearing has taken everything older that it covers out of the queue.
            for name in (("clear", None), ("clear", key.scope)):
                task = task or self._queue.get(name)
            if task is None and owed is not self._settled:
                task = owed  # newer than what is being done
            if task is None and self._current is not None and self._current.covers(key):
                task = self._current
            for name in (("clear", None), ("clear", key.scope)):
                task = task or self._owed.get(name)
            return task or owed

    def submit(self, task: Task) -> None:
        """Queue a task behind the others; never waits, and reports nothing itself."""
        with self._changed:
            if self._closed:
                return
            superseded = [task.name]
            if isinstance(task, Clear):
                superseded += [
                    name
                    for name, old in self._queue.items()
                    if not isinstance(old, Clear) and task.covers(old.key)
                ]
            for name in superseded:
                self._take(name)
            self._queue[task.name] = task
            self.bytes_waiting += task.nbytes
            self.writes_waiting += isinstance(task, Write)
            self._drop_surplus()
            if self._worker is None:
                self._start()

    def _start(self) -> None:
        worker = threading.Thread(target=self._work, name="visioncache-store", daemon=True)
        with suppress(RuntimeError):  # no thread can be started while the interpreter goes
            worker.start()
            self._worker = worker

    def _take(self, name: Name) -> None:
        task = self._queue.pop(name, None)
        if task is not None:
            self.bytes_waiting -= task.nbytes
            self.writes_waiting -= isinstance(task, Write)

    def _drop_surplus(self) -> None:
        while self.bytes_waiting > self._queue_bytes or self.writes_waiting > self._queue_items:
            oldest = next(task for task in self._queue.values() if isinstance(task, Write))
            self._take(oldest.name)
            self._owe(Remove(oldest.key))
            self._unreported.append(oldest.key)
            self.dropped += 1
        while len(self._queue) > _MAX_TASKS:
            self._take(next(iter(self._queue)))

    def _owe(self, task: Task) -> None:
        self._owed[task.name] = task
        if len(self._owed) > _MAX_OWED:
            self._owed.popitem(last=False)

    def _work(self) -> None:
        self._settle()
        while True:
            with self._changed:
                self._current = self._settled = None
                if not self._queue:
                    self._worker = None
                    self._changed.notify_all()
                    return
                name, task = next(iter(self._queue.items()))
                self._take(name)
                self._current, self._settled = task, self._owed.get(name)
                dropped, self._unreported = self._unreported, deque()
            for key in dropped:
                self._failed("queue", key, StoreError("it was full, and its oldest write was dropped"))
            self._do(task)

    def _do(self, task: Task) -> None:
        try:
            written = task.apply(self._store)
        except Exception as error:  # noqa: BLE001  # a store is anybody's code
            with self._changed:
                self._owe(Remove(task.key) if isinstance(task, Write) else task)
            key = None if isinstance(task, Clear) else task.key
            self._failed("put" if isinstance(task, Write) else "delete", key, error)
            return
        with self._changed:
            if self._settled is not None and self._owed.get(task.name) is self._settled:
                del self._owed[task.name]
            self.writes += isinstance(task, Write)
            self.bytes_written += written
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
                task.apply(self._store)
            except Exception:  # noqa: BLE001  # it was reported when it failed first
                return
            with self._changed:
                if self._owed.get(task.name) is task:
                    del self._owed[task.name]

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until nothing is left to write; False when `timeout` seconds were not enough."""
        with self._changed:
            return self._changed.wait_for(lambda: self._worker is None, timeout)

    def stop(self) -> None:
        """Take nothing more, and drop what waits."""
        with self._changed:
            self._closed = True
            self.dropped += self.writes_waiting
            self._queue.clear()
            self.writes_waiting = self.bytes_waiting = 0

    def __len__(self) -> int:
        return len(self._queue)
