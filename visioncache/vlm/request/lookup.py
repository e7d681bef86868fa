"""Lookup: an image's value in the cache, checked before it is believed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from visioncache.vlm.trees import outline, token_count

if TYPE_CHECKING:
    from collections.abc import Callable

    from visioncache.cache import VisionFeatureCache
    from visioncache.vlm.request.tickets import Part


class Lookup:
    """What the processor's side and the model's side ask the cache."""

    def __init__(self, cache: VisionFeatureCache) -> None:
        self.cache = cache

    def find(self, part: Part) -> bool:
        """Fill in a part that the cache knows; a value that is not what was stored is dropped."""
        found = self.cache.get_with_meta(part.key)
        if found is None:
            return False
        value, meta = found
        if meta is None or meta.get("features") != outline(value):
            self.cache.pop(part.key)
            return False
        part.features, part.meta = value, dict(meta)
        return True

    def encode(self, part: Part, encode: Callable[[Part], Any]) -> Any:
        """The value of a part: held, or encoded once, however many threads need it, and stored."""
        if part.features is None:

            def compute() -> Any:
                value = encode(part)
                part.meta |= {"features": outline(value), "tokens": token_count(value)}
                return value

            part.features = self.cache.fill(
                part.key, compute, label=part.label, meta=part.meta, seconds=part.seconds
            )
            part.inputs = {}
        return part.features
