"""Where an image comes from: identified first, decoded only if somebody touches its pixels."""

from __future__ import annotations

import base64
import binascii
import os
from contextlib import nullcontext
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError

from visioncache.keys import Key, known_file, read_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

_ON_ITS_SIDE = 5
"""EXIF orientations from this one on swap width and height."""

URL_TIMEOUT_S = 10
"""As in mlx-vlm's `load_image`."""


class SourceImage(Image.Image):
    """An RGB image that is decoded when its pixels are first touched.

    It decodes the very bytes that its key was made from, whatever happens to their file meanwhile.
    `mode` is known without decoding; `size` too, where `ask_size` knows it or a header tells it.
    """

    def __init__(
        self,
        key: Key,
        label: str,
        read: Callable[[], tuple[Key, Image.Image]],
        variant: str = "",
        peek: Callable[[], tuple[Key, tuple[int, int] | None]] | None = None,
    ) -> None:
        self._read: Callable[[], tuple[Key, Image.Image]] | None = None
        super().__init__()
        self._mode = "RGB"
        self.key = key
        self.label = label
        self.variant = variant
        """How these pixels differ from the source's own: its part of the image's identity."""
        self.known_size: tuple[int, int] | None = None
        """What `size` is, as long as the image is not decoded."""
        self.ask_size: Callable[[SourceImage], tuple[int, int] | None] = _unknown
        """Who may know it."""
        self.measure: Callable[[], AbstractContextManager[None]] = nullcontext
        """Who counts and times its decoding."""
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
        """Whether the pixels are there."""
        return self._read is None

    @property
    def info(self) -> dict[str | tuple[int, int], Any]:
        """What the decoded image says besides its pixels: processors ask it for a transparent colour."""
        if self._read is not None:
            self.load()
        return self._info

    @info.setter
    def info(self, info: dict[str | tuple[int, int], Any]) -> None:
        self._info = info

    def load(self) -> Any:
        """Decode, if that has not happened; the key is then that of the bytes that were decoded."""
        if self._read is not None:
            with self.measure():
                self.key, image = self._read()
            self._info = image.info.copy()
            self._size = image.size
            self.im = image.im
            self._read = self._peek = None
        return super().load()

    def convert(self, mode: str | None = None, *args: Any, **kwargs: Any) -> Any:
        """As PIL's; an RGB copy waits for its pixels to be touched too."""
        if mode in {None, "RGB"} and not args and not kwargs:
            copied = self.resized(lambda image: image.copy(), "")
            copied._peek = self._told  # noqa: SLF001  # one of its own
            return copied
        return super().convert(mode, *args, **kwargs)

    def _told(self) -> tuple[Key, tuple[int, int]]:
        size = self.size  # which may find that the file is another one now
        return self.key, size

    def resized(self, resize: Callable[[Image.Image], Image.Image], variant: str) -> SourceImage:
        """The image after `resize`, which runs when its pixels are touched."""

        def read() -> tuple[Key, Image.Image]:
            image = resize(self)
            return self.key, image

        resized = SourceImage(self.key, self.label, read, self.variant + variant)
        resized.ask_size = self.ask_size
        return resized


def _unknown(_: SourceImage) -> None:
    return None


def open_source(source: Any, *, transpose: bool, trust_urls: bool = False) -> SourceImage:
    """Identify an image without decoding it.

    Args:
        source: path, URL, data URI, BytesIO or PIL image.
        transpose: apply the EXIF orientation, as mlx-vlm does to what it opens itself.
        trust_urls: take a URL for its content, so that a known one is not downloaded again.

    Raises:
        ValueError: the source can't be read; its decoding may raise it later.
    """
    try:
        if isinstance(source, Image.Image):
            return _from_pil(source)
        if isinstance(source, str) and source.startswith("data:image/"):
            return _from_bytes(_data_uri(source), "data URI", transpose=transpose)
        if isinstance(source, str) and source.startswith(("http://", "https://")):
            return _from_url(source, transpose=transpose, trusted=trust_urls)
        if isinstance(source, BytesIO):
            return _from_bytes(source.getvalue(), "BytesIO", transpose=transpose)
        if isinstance(source, (str, Path)):
            return _from_path(source, transpose=transpose)
    except OSError as error:
        raise ValueError(f"Failed to load image from {source}: {error}") from error
    raise ValueError(
        f"Unsupported image source type: {type(source).__name__}; accepted: a path, a URL, a "
        "data URI, BytesIO or a PIL image"
    )


def _from_path(path: str | Path, *, transpose: bool) -> SourceImage:
    name = os.fspath(path)
    key, data = known_file(path), b""
    if key is None:
        key, data = read_file(path)

    @cache
    def held() -> tuple[Key, bytes]:
        return (key, data) if data else read_file(path)

    def read() -> tuple[Key, Image.Image]:
        now, content = held()
        return now, _decode(content, name, transpose=transpose)

    def peek() -> tuple[Key, tuple[int, int] | None]:
        now, content = held()
        return now, _header_size(content, transpose=transpose)

    return SourceImage(key, name, read, _exif(transpose), peek)


def _from_bytes(data: bytes, label: str, *, transpose: bool) -> SourceImage:
    key = Key.from_bytes(data)
    return SourceImage(
        key,
        label,
        lambda: (key, _decode(data, label, transpose=transpose)),
        _exif(transpose),
        lambda: (key, _header_size(data, transpose=transpose)),
    )


def _from_url(url: str, *, transpose: bool, trusted: bool) -> SourceImage:
    if not trusted:
        return _from_bytes(_download(url), url, transpose=transpose)
    key = Key.from_source(url)
    return SourceImage(
        key, url, lambda: (key, _decode(_download(url), url, transpose=transpose)), _exif(transpose)
    )


def _from_pil(image: Image.Image) -> SourceImage:
    """A PIL image: by its file's bytes when it was only opened, by its pixels otherwise."""
    if isinstance(image, SourceImage):
        return image
    name = getattr(image, "filename", "")
    label = os.fspath(name) if name else f"{image.mode} {image.width}x{image.height}"
    if _only_opened(image):
        source = _from_bytes(_whole_file(image), label, transpose=False)
        source.label = label
        return source
    key = Key.from_image(image)

    def read() -> tuple[Key, Image.Image]:
        now = image.copy()  # which nobody draws on while it is identified and decoded
        return Key.from_image(now), now.convert("RGB")

    return SourceImage(key, label, read, peek=lambda: (key, image.size))


def _only_opened(image: Image.Image) -> bool:
    """Whether a PIL image still is what its file says: not loaded, sought or drafted."""
    return (
        isinstance(image, ImageFile.ImageFile)
        and bool(image.tile)
        and image.fp is not None
        and image.tell() == 0
        and not getattr(image, "decoderconfig", None)
    )


def _whole_file(image: Any) -> bytes:
    file = image.fp
    position = file.tell()
    try:
        file.seek(0)
        return bytes(file.read())
    finally:
        file.seek(position)


def _decode(data: bytes, label: str, *, transpose: bool) -> Image.Image:
    try:
        with Image.open(BytesIO(data)) as image:
            if transpose:
                ImageOps.exif_transpose(image, in_place=True)
            image.load()
            # RGB as it is: to convert it would be to copy it.
            return image if image.mode == "RGB" else image.convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"Failed to load image from {label}: {error}") from error


def _header_size(data: bytes, *, transpose: bool) -> tuple[int, int] | None:
    """Width and height as a header tells them; None where it can't, or not without decoding."""
    try:
        with Image.open(BytesIO(data)) as image:
            if not transpose or image.format == "TIFF":  # whose size PIL tells as it will be upright
                return image.size
            if "exif" not in image.info and image.format == "PNG":
                return None  # PIL would decode it all to see whether one follows
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= _ON_ITS_SIDE
            return image.size[::-1] if turned else image.size
    except (UnidentifiedImageError, OSError, SyntaxError):
        return None  # decoding says what is wrong with it


def _data_uri(uri: str) -> bytes:
    _, comma, payload = uri.partition(",")
    if not comma:
        raise ValueError("Invalid data URI format - missing comma separator")
    try:
        return base64.b64decode(payload)
    except binascii.Error as error:
        raise ValueError(f"Invalid data URI: {error}") from error


def _download(url: str) -> bytes:
    import requests

    with requests.get(url, timeout=URL_TIMEOUT_S) as response:
        response.raise_for_status()
        return bytes(response.content)


def _exif(transpose: bool) -> str:
    return "exif" if transpose else ""
