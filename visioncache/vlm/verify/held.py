"""Held: a cache that answers from another one and its store, and changes neither."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from visioncache.cache import VisionFeatureCache
from visioncache.keys import Key
from visioncache.stores import decode

if TYPE_CHECKING:
    from collections.abc import Mapping


class HeldCache(VisionFeatureCache):
    """Finds what another cache holds, in memory or in its store, and keeps what is new to itself.

    No counter, recency or event of the other one changes, and what is damaged in its store stays there.

    Args:
        other: the cache.
    """

    def __init__(self, other: VisionFeatureCache) -> None:
        super().__init__(max_size=None)
        self._other = other

    def _get_with_meta(self, source: Any) -> tuple[Any, Mapping[str, Any] | None] | None:
        """Look up here, then there; ValueError for an entry of the store that can't be decoded."""
        key = Key.of(source)
        if key not in self:
            found = self._borrowed(key)
            if found is not None:
                value, meta = found
                self.put(key, value, meta=meta)
        return super()._get_with_meta(key)

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
            stored = decode(data)
        except ValueError as error:
            raise ValueError(f"a damaged entry in {tier.store!r}: {error}") from None
        return stored.value, stored.meta["meta"]
