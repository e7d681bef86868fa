"""An image that is identified now and decoded late: whichever door it comes by, one content is one image."""

from __future__ import annotations

import base64
import binascii
import copy
import os
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageFile

from visioncache.keys import Key, is_array, numbers_of, read_file
from visioncache.sizes import dtype_of
from visioncache.vlm.patching.touched import fields
from visioncache.vlm.request.file import decode, decoding, file_of, header_of, pixels_of
from visioncache.vlm.request.opened import has_own_ways, unread
from visioncache.vlm.request.opening import is_usual
from visioncache.vlm.request.source import SourceImage, exif_of, once, rgb

if TYPE_CHECKING:
    from visioncache.vlm.request.source import Decoded

__all__ = ["SourceImage", "hold", "key_of", "open_source", "take"]

_LONGEST = 200
"""Characters of a source in an error; a path may have thousands, base64 millions."""

BASE64 = "base64 text"
"""Label of an image that is given as such."""

URL_TIMEOUT_S = 10
"""As in mlx-vlm's `load_image`."""


def open_source(
    source: Any, *, transpose: bool, as_rgb: bool = True, trust_urls: bool = False
) -> SourceImage:
    """Identify an image without decoding it; it is RGB.

    The same bytes are the same image by path, URL, data URI, BytesIO or as a file that PIL opened, also
    once that was displayed. Equal pixels from other bytes (a PNG saved from a JPEG, a copy in memory) are
    another image: nothing but decoding would tell that they are equal.

    Args:
        source: path, URL, data URI, base64 text, BytesIO or PIL image.
        transpose: apply the EXIF orientation, as mlx-vlm does to what it opens itself.
        as_rgb: make it RGB; else what is opened by its path is of the file's own mode.
        trust_urls: take a URL for its content, so that a known one is not downloaded again.

    Raises:
        ValueError: the source can't be read; its decoding may raise something later.
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
            return _from_path(source, transpose=transpose, as_rgb=as_rgb)
    except ValueError:
        raise
    except OSError as error:
        raise ValueError(f"Failed to load image from {_short(source)}: {error}") from error
    raise ValueError(
        f"Unsupported image source type: {type(source).__name__}; accepted: a path, a URL, a "
        "data URI, BytesIO or a PIL image"
    )


def take(image: Any, *, transpose: bool, as_rgb: bool = True, trust_urls: bool = False) -> Any:
    """Identify what a processor was handed, as it is, and keep others from writing into it.

    Returns a SourceImage for a path or PIL image, a copy of an array (`Key.of` gives its key), or bytes;
    a PIL image is of its own mode, and so is what is opened by its path unless `as_rgb`. None for what has
    no identity: lists of numbers, masked arrays, objects.
    """
    if isinstance(image, (str, Path)):
        how = {"transpose": transpose, "as_rgb": as_rgb, "trust_urls": trust_urls}
        return open_source(image, **how) if is_usual() else None
    if isinstance(image, Image.Image):
        return None if has_own_ways(image) else _from_pil(image, as_rgb=False)
    if isinstance(image, bytes):
        return image
    return _own(image) if is_array(image) else None


def hold(image: Any, *, trust_urls: bool = False) -> Any:
    """An image for mlx-vlm that stays what it is now: what `key_of` identifies is what a model sees.

    ValueError when it can't be read.
    """
    if isinstance(image, (list, tuple)):
        return [hold(item, trust_urls=trust_urls) for item in image]
    if is_array(image):
        own = _own(image)
        return image if own is None else own
    if isinstance(image, (int, float)):
        return image
    source = open_source(image, transpose=True, trust_urls=trust_urls)
    if source.changing:
        source.load()
    return source


def key_of(image: Any) -> Key | None:
    """The key of an image that is held; None for what has none, as lists of numbers."""
    if isinstance(image, SourceImage):
        return image.key.scoped(image.variant)
    try:
        return Key.of([key_of(item) for item in image] if isinstance(image, list) else image)
    except TypeError:
        return None


def are_unlike(images: list[Any], image_processor: Any, options: dict[str, Any]) -> bool:
    """Tell whether arrays of unlike numbers are processed that no setting casts: a batch casts them all.

    Args:
        images: what `take` returned.
        image_processor: what processes them.
        options: of this call.
    """
    if options.get("do_rescale", getattr(image_processor, "do_rescale", None)) is not False:
        return False
    return len({dtype_of(one) if is_array(one) else "uint8" for one in images}) > 1


def _own(array: Any) -> Any:
    """An array of the same class, which nobody else writes into; None when it has no plain numbers.

    Nor has one of a user's class: what an array of numpy's gives there may depend on anything.
    """
    if type(array).__module__ == "mlx.core":
        return array[...]
    if isinstance(array, np.ndarray) and not type(array).__module__.startswith("numpy"):
        return None
    try:
        plain = numbers_of(array)
        if plain.dtype.hasobject or plain.dtype.names or isinstance(array, np.ma.MaskedArray):
            return None
        own = array.copy(order="K") if isinstance(array, np.ndarray) else copy.deepcopy(array)
        return None if np.may_share_memory(numbers_of(own), plain) else own
    except Exception:  # noqa: BLE001  # such an object's code is anybody's
        return None


# Doors --------------------------------------------------------------------------------------------


def _from_path(path: str | Path, *, transpose: bool, as_rgb: bool) -> SourceImage:
    try:
        data = read_file(path)
    except OSError:
        encoded = _base64(path)
        if not encoded:
            raise
        return _from_bytes(encoded, BASE64, transpose=transpose, as_rgb=as_rgb)
    return _from_bytes(data, os.fspath(path), transpose=transpose, by_path=True, as_rgb=as_rgb)


def _from_url(url: str, *, transpose: bool, trusted: bool) -> SourceImage:
    if not trusted:
        return _from_bytes(_download(url), url, transpose=transpose)
    key, variant = Key.from_source(url), "exif" if transpose else ""

    def read() -> Decoded:
        data = _download(url)
        return key, rgb(decode(Key.from_bytes(data), data, url, transpose=transpose))

    return SourceImage(key, url, once(key, (variant,), read), variant)


def _from_bytes(
    data: bytes,
    label: str,
    *,
    transpose: bool,
    by_path: bool = False,
    as_rgb: bool = True,
    opened: bool = False,
) -> SourceImage:
    """A file's content, which no more changes; PIL has `opened` it, and may be asked to display it."""
    key = Key.from_bytes(data)
    header = header_of(key, data)
    turned = transpose and header.orientation != 1
    variant = ("exif" if turned else "") + ("/misread" if by_path and header.misread else "")
    size = None if header.misread else header.upright if transpose else header.size

    def read() -> Decoded:
        decoded = decode(key, data, label, transpose=turned, by_path=by_path, remember=opened)
        return key, rgb(decoded) if as_rgb else decoded

    how = variant, as_rgb, *decoding()
    image = SourceImage(key, label, once(key, how, read), variant, lambda: (key, size))
    return image if as_rgb else _of_mode(image, header.mode)


def _from_pil(image: Any, *, as_rgb: bool = True) -> SourceImage:
    """A PIL image: by its file's bytes while it is what they say, by its pixels otherwise."""
    if isinstance(image, SourceImage):
        return image
    data = unread(image)
    name = getattr(image, "filename", "")
    label = os.fspath(name) if name else "{_mode} {_size[0]}x{_size[1]}".format_map(fields(image))
    if data is not None:
        return _from_bytes(data, label, transpose=False, by_path=bool(name), as_rgb=as_rgb, opened=True)
    pixels = Key.from_image(image)
    key = _file_shown(image, pixels) or pixels

    def read() -> Decoded:
        now = image.copy()  # which nobody draws on while it is identified and decoded
        now._exif = exif_of(image)  # noqa: SLF001  # PIL leaves it behind
        found = Key.from_image(now)
        return key if found == pixels else found, rgb(now) if as_rgb else now

    size = image.size
    source = SourceImage(key, label, once(key, (id(image), as_rgb), read), "", lambda: (key, size))
    source.changing = True
    return source if as_rgb else _of_mode(source, image.mode)


def _of_mode(image: SourceImage, mode: str) -> SourceImage:
    """An image that is handed on in a mode of its own: what is made of that is not what is made of RGB."""
    if mode:
        image._mode = mode  # noqa: SLF001  # as PIL's own plugins set it
    else:
        image.load()  # nothing else tells it
    if image.mode != "RGB":
        image.variant += f"/{image.mode}"
    return image


def _file_shown(image: Any, pixels: Key) -> Key | None:
    """The key of the file that a decoded image was opened from, if it still is what that decodes to."""
    if not isinstance(image, ImageFile.ImageFile):
        return None
    name = getattr(image, "filename", "")
    with suppress(OSError):
        data = read_file(name) if name else b""
        key = Key.from_bytes(data)
        if name and pixels_of(key, data) == pixels:
            return key
    return file_of(pixels)  # it was opened from memory, which is gone, or from a file that is another by now


# Bytes from text ----------------------------------------------------------------------------------


def _data_uri(uri: str) -> bytes:
    _, comma, payload = uri.partition(",")
    if not comma:
        raise ValueError("Invalid data URI format - missing comma separator")
    return base64.b64decode(payload)


def _base64(text: str | Path) -> bytes:
    """The bytes of an image that is given as base64, as transformers' processors take it; or none."""
    try:
        data = base64.decodebytes(text.encode()) if isinstance(text, str) else b""
    except (binascii.Error, UnicodeEncodeError):
        return b""
    return data if header_of(Key.from_bytes(data), data).state else b""


def _download(url: str) -> bytes:
    import requests

    with requests.get(url, timeout=URL_TIMEOUT_S) as response:
        response.raise_for_status()
        return bytes(response.content)


def _short(source: Any) -> str:
    """A source as an error names it: base64 may be megabytes."""
    text = str(source)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
