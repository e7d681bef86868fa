"""Thumbnails: small pictures of the images that were decoded last."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from PIL import Image

if TYPE_CHECKING:
    from visioncache.keys import Key


class Thumbnails:
    """Small pictures of the images that were decoded last."""

    side = 96
    capacity = 512

    def __init__(self) -> None:
        self._pictures: OrderedDict[str, Image.Image] = OrderedDict()
        self._lock = threading.Lock()

    def make(self, key: Key, image: Any) -> None:
        """Keep a small picture of a decoded image."""
        if not isinstance(image, Image.Image):
            return
        # Nearest-neighbour first: a good filter over millions of pixels would cost more than it shows.
        scale = max(1, max(image.size) // (4 * self.side))
        small = image.resize(
            (image.width // scale or 1, image.height // scale or 1), Image.Resampling.NEAREST
        )
        small.thumbnail((self.side, self.side))
        with self._lock:
            self._pictures[key.text] = small
            if len(self._pictures) > self.capacity:
                self._pictures.popitem(last=False)

    def get(self, key: Key) -> Image.Image | None:
        """The picture of a key, if there is one."""
        return self._pictures.get(key.text)
