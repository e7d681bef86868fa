"""SourceImage: an image that is decoded when its pixels are first touched, and once for all its equals."""

from __future__ import annotations

import copy
import threading
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import numpy as np
from PIL import Image

from visioncache.keys import ORIENTATION, Key, orientation_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    Decoded = tuple[Key, Image.Image]
    Measure = Callable[[], AbstractContextManager[None]]


class SourceImage(Image.Image):
    """An image that is decoded when its pixels are first touched, RGB unless a processor gets it as it is.

    It decodes the very bytes that its key was made from, whatever happens to their file meanwhile.
    `mode` is known without decoding; `size` too, where `ask_size` knows it or a header tells it.
    """

    def __init__(
        self,
        key: Key,
        label: str,
        read: Callable[[Measure], Decoded],
        variant: str = "",
        peek: Callable[[], tuple[Key, tuple[int, int] | None]] | None = None,
    ) -> None:
        self._read: Callable[[Measure], Decoded] | None = None
        super().__init__()
        self._mode, self.readonly = "RGB", 1  # PIL loads and copies it before it writes: its equals share it
        self.key = key
        self.label = label
        self.variant = variant
        """How these pixels differ from the source's own: its part of the image's identity."""
        self.known_size: tuple[int, int] | None = None
        """Return what `size` is, as long as the image is not decoded."""
        self.ask_size: Callable[[SourceImage], tuple[int, int] | None] = _unknown
        """Who may know it."""
        self.measure: Measure = nullcontext
        """Who counts and times its decoding."""
        self.changing = False
        """Tell whether somebody may still draw on what will be decoded."""
        self._read = read
        self._peek = peek

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, pixels."""
        if self._read is not None:
            self.known_size = self.known_size or self.ask_size(self)
            if self.known_size is None and self._peek is not None:
                self.key, self.known_size = self._peek()
            if self.known_size is not None:
                return self.known_size
            self.load()
        return self._size

    @property
    def decoded(self) -> bool:
        """Tell whether the pixels are there."""
        return self._read is None

    @property
    def info(self) -> dict[str | tuple[int, int], Any]:
        """Return what the decoded image says besides its pixels, such as a transparent colour."""
        if self._read is not None:
            self.load()
        return self._info

    @info.setter
    def info(self, info: dict[str | tuple[int, int], Any]) -> None:
        self._info = info

    def getexif(self) -> Image.Exif:
        """EXIF of the decoded image, as PIL's."""
        if self._read is not None:
            self.load()
        return super().getexif()

    def load(self) -> Any:
        """Decode, if that has not happened; the key is then that of the bytes that were decoded."""
        if self._read is not None:
            self.key, image = self._read(self.measure)
            self._info, self._exif = image.info.copy(), exif_of(image)
            self._size, self._mode = image.size, image.mode
            self.palette = copy.copy(image.palette)
            self.im = image.im
            self._read = self._peek = None
        return super().load()

    def convert(self, mode: str | None = None, *args: Any, **kwargs: Any) -> Any:
        """As PIL's; an RGB copy waits for its pixels to be touched too."""
        if self._mode == "RGB" and mode in {None, "RGB"} and not args and not kwargs:
            copied = self.resized(lambda image: image.copy(), "")
            copied._peek = self._told  # noqa: SLF001  # one of its own
            return copied
        return super().convert(mode, *args, **kwargs)

    def _told(self) -> tuple[Key, tuple[int, int]]:
        size = self.size  # which may find that the file is another one now
        return self.key, size

    def resized(self, resize: Callable[[Image.Image], Image.Image], variant: str) -> SourceImage:
        """The image after `resize`, which runs when its pixels are touched."""

        def read(measure: Measure) -> Decoded:
            with measure():
                image = resize(self)
            return self.key, image

        resized = SourceImage(self.key, self.label, read, self.variant + variant)
        resized.ask_size = self.ask_size
        return resized


def _unknown(_: SourceImage) -> None:
    return None


class Once:
    """A decoding that runs once, however many images of a request are the same one."""

    def __init__(self, read: Callable[[], Decoded]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._decoded: Decoded | None = None

    def __call__(self, measure: Measure) -> Decoded:
        """Decode, or give what was decoded."""
        with self._lock:
            if self._decoded is None:
                with measure():
                    self._decoded = self._read()
            return self._decoded

    def may_give(self, key: Key) -> bool:
        """Tell whether it is still to be decoded, or was found to be this image when it was."""
        return self._decoded is None or self._decoded[0] == key


_decodings: WeakValueDictionary[tuple[Any, ...], Once] = WeakValueDictionary()
"""Those that an image which is not decoded yet still waits for."""
_decodings_lock = threading.Lock()


def once(key: Key, how: tuple[Any, ...], read: Callable[[], Decoded]) -> Once:
    """The decoding of an image in some way, shared by those that are not decoded yet."""
    identity = (key.text, *how)
    with _decodings_lock:
        found = _decodings.get(identity)
        if found is None or not found.may_give(key):
            found = _decodings[identity] = Once(read)
        return found


def rgb(image: Image.Image) -> Image.Image:
    """RGB as it is: to convert it would be to copy it."""
    return image if image.mode == "RGB" else image.convert("RGB")


def exif_of(image: Any) -> Image.Exif | None:
    """Return what an image's EXIF, if PIL has read it, says about which way up it is."""
    if image._exif is None or not image._exif._loaded:  # noqa: SLF001  # PIL has no other way to say so
        return None
    exif, turned = Image.Exif(), orientation_of(image)
    exif._loaded = True  # noqa: SLF001
    if turned != 1:
        exif[ORIENTATION] = turned
    return exif


def thumbnail(image: Image.Image, side: int) -> Image.Image | None:
    """A picture of an image of any mode, at most so many pixels wide and high; None where PIL makes none."""
    try:
        scale = max(1, max(image.size) / side)
        width, height = (round(length / scale) or 1 for length in image.size)
        # Nearest-neighbour first: a good filter over millions of pixels would cost more than it shows.
        small = image.resize((2 * width, 2 * height), Image.Resampling.NEAREST)
        if small.mode.startswith(("I", "F")):  # which PIL would cut off at 255
            values = np.asarray(small, np.float64)
            values = np.nan_to_num(values, posinf=0.0, neginf=0.0)
            low, high = float(values.min()), float(values.max())
            small = Image.fromarray(((values - low) * (255 / (high - low or 1))).astype(np.uint8))
        return (small.convert("RGBA") if small.mode in {"1", "P", "PA"} else small).reduce(2)
    except (ValueError, OSError):
        return None
