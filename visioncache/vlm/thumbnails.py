"""Thumbnails: small pictures of the images that were decoded last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakKeyDictionary

from PIL import Image

from visioncache.recent import Recent
from visioncache.vlm.request.source import thumbnail

if TYPE_CHECKING:
    from visioncache.cache import VisionFeatureCache
    from visioncache.keys import Key


class Thumbnails:
    """Small pictures of the images that were decoded last."""

    side = 96
    capacity = 512

    _of: ClassVar[WeakKeyDictionary[Any, Thumbnails]] = WeakKeyDictionary()

    def __init__(self) -> None:
        self._pictures: Recent[str, Image.Image] = Recent(self.capacity)

    @classmethod
    def of(cls, cache: VisionFeatureCache) -> Thumbnails:
        """Return those of a cache's entries, whichever attachment decoded the images."""
        return cls._of.get(cache) or cls._of.setdefault(cache, cls())

    def make(self, key: Key, image: Any) -> None:
        """Keep a small picture of a decoded image."""
        small = thumbnail(image, self.side) if isinstance(image, Image.Image) else None
        if small is not None:
            self._pictures[key.text] = small

    def get(self, key: Key) -> Image.Image | None:
        """The picture of a key, if there is one."""
        return self._pictures.get(key.text)
