"""Held: a cache that answers from another one and its store, and changes neither."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from visioncache.cache import VisionFeatureCache
from visioncache.keys import Key
from visioncache.stores import decode
from visioncache.stores.tier import checked

if TYPE_CHECKING:
    from collections.abc import Mapping


class HeldCache(VisionFeatureCache):
    """Finds what another cache holds, in memory or in its store, and keeps what is new to itself.

    No counter, recency or event of the other one changes, and what is damaged in its store stays there: it is
    encoded anew, as the other cache would do.

    Args:
        other: the cache.
    """

    def __init__(self, other: VisionFeatureCache) -> None:
        super().__init__(max_size=None)
        self._other = other
        self.damaged: set[str] = set()
        """Keys of entries that can't be decoded, or that aren't what was stored."""

    def _get_with_meta(self, source: Any) -> tuple[Any, Mapping[str, Any] | None] | None:
        """Look up here, then there."""
        key = Key.of(source)
        if key not in self and key.text not in self.damaged:
            found = self._borrowed(key)
            if found is not None:
                value, meta = found
                self.put(key, value, meta=meta)
        return super()._get_with_meta(key)

    def pop(self, source: Any, default: Any = None) -> Any:
        """Drop an entry that isn't what was stored, and count it as damaged."""
        self.damaged.add(Key.of(source).text)
        return super().pop(source, default)

    def holds(self, key: Key) -> bool:
        """Tell whether the other cache or its store has an entry, damaged or not."""
        tier = self._other._tier  # noqa: SLF001
        return key in self._other or (tier is not None and tier.store.get(key) is not None)

    def _borrowed(self, key: Key) -> tuple[Any, Mapping[str, Any] | None] | None:
        entry = self._other.entry(key)
        if entry is not None:
            return self._other.peek(key), entry.meta
        tier = self._other._tier  # noqa: SLF001  # `get` would count, and promote
        data = None if tier is None else tier.store.get(key)
        if tier is None or data is None:
            return None
        try:
            stored = checked(key, decode(data))
        except ValueError:
            self.damaged.add(key.text)
            return None
        return stored.value, stored.meta
