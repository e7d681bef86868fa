"""Recent: a mapping that keeps what was used last, for every bounded memory of the package."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Generic, TypeVar, overload

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")


class Recent(Generic[K, V]):
    """A mapping of at most `most` entries, the least recently used first out; any thread may use it.

    Setting and getting refresh an entry; `in` does not.
    """

    def __init__(self, most: int) -> None:
        if most < 1:
            raise ValueError(f"most={most}: keep at least 1 entry")
        self.most = most
        self._held: OrderedDict[K, V] = OrderedDict()
        self._lock = threading.Lock()

    def __setitem__(self, key: K, value: V) -> None:
        with self._lock:
            self._held[key] = value
            self._held.move_to_end(key)
            if len(self._held) > self.most:
                self._held.popitem(last=False)

    @overload
    def get(self, key: K) -> V | None: ...
    @overload
    def get(self, key: K, default: D) -> V | D: ...
    def get(self, key: K, default: D | None = None) -> V | D | None:
        """Return the value of a key, now the most recently used; `default` when there is none."""
        with self._lock:
            if key not in self._held:
                return default
            self._held.move_to_end(key)
            return self._held[key]

    def pop(self, key: K) -> V | None:
        """Remove a key and return its value; None when there is none."""
        with self._lock:
            return self._held.pop(key, None)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._held.clear()

    def __contains__(self, key: object) -> bool:
        return key in self._held

    def __len__(self) -> int:
        return len(self._held)

    def values(self) -> list[V]:
        """List the values, from least to most recently used."""
        with self._lock:
            return list(self._held.values())
