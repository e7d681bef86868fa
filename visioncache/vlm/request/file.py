"""Image files as bytes: what their header tells without decoding them, and their pixels."""

from __future__ import annotations

import struct
import tempfile
import threading
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cachetools import LRUCache
from PIL import (
    GifImagePlugin,
    Image,
    ImageFile,
    ImageOps,
    ImagePalette,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
)

from visioncache.keys import ORIENTATION, Key, orientation_of

if TYPE_CHECKING:
    from collections.abc import Iterator

_SAME_SIZE = {"AVIF", "BMP", "GIF", "JPEG", "MPO", "PNG", "PPM", "TIFF", "WEBP"}
"""Formats of which PIL tells mode and size when it opens a file, as they are when it has decoded it."""
_SAME_EXIF = {
    *(
        "BLP",
        "CUR",
        "DCX",
        "DDS",
        "DIB",
        "FLI",
        "FTEX",
        "GBR",
        "HEIF",
        "ICNS",
        "ICO",
        "IM",
        "JPEG2000",
        "MSP",
    ),
    *("PCX", "PIXAR", "PSD", "QOI", "SGI", "SPIDER", "SUN", "TGA", "XBM", "XPM", "XVTHUMB"),
}
"""Further formats of which PIL then tells the orientation, if they have one."""
_SIDEWAYS = range(5, 9)
"""Orientations that swap width and height."""
_PNG_TEXT = {b"eXIf", b"iTXt", b"tEXt", b"zTXt"}
"""Chunks that may hold an orientation, before a PNG's pixels or after them."""
DECODING = {
    "LOAD_TRUNCATED_IMAGES": ImageFile,
    "MAX_IMAGE_PIXELS": Image,
    "LOADING_STRATEGY": GifImagePlugin,
    "MAX_TEXT_CHUNK": PngImagePlugin,
    "MAX_TEXT_MEMORY": PngImagePlugin,
    "READ_LIBTIFF": TiffImagePlugin,
}
"""Settings that PIL decodes by, and where they lie."""
READERS = (ImageFile.ImageFile, JpegImagePlugin.JpegImageFile, MpoImagePlugin.MpoImageFile)
"""Classes that read files and that PIL does not list, which for JPEGs lists a function that chooses."""
_REMEMBERED = 4096
_PLAIN = (int, float, str, bytes, tuple, type(None))
_PLACE = {"filename", "_exclusive_fp", "_close_exclusive_fp_after_loading", "fp", "_fp", "map"}


class Header(NamedTuple):
    """Describe a file's picture before its pixels are decoded."""

    state: str = ""
    """`state_of` such a file when PIL has just opened it; empty where it is no image."""
    mode: str = ""
    """PIL's mode; empty where only decoding tells."""
    size: tuple[int, int] | None = None
    """Width and height as they are stored, pixels; None where only decoding tells."""
    orientation: int | None = None
    """1 to 8, as EXIF says and `ImageOps.exif_transpose` applies; None where only decoding tells."""
    misread: bool = False
    """Tell whether PIL decodes it otherwise by its path than from memory: rows of the wrong length."""

    @property
    def upright(self) -> tuple[int, int] | None:
        """Width and height once the orientation was applied."""
        if self.size is None or self.orientation is None:
            return None
        return self.size[::-1] if self.orientation in _SIDEWAYS else self.size


_lock = threading.Lock()
_headers: LRUCache[tuple[Any, ...], Header] = LRUCache(_REMEMBERED)
"""By key of the file's content, and what PIL decodes by."""
_pixels: LRUCache[tuple[Any, ...], Key] = LRUCache(_REMEMBERED)
"""`Key.from_image` of what a file decodes to, by the same."""
_files: LRUCache[tuple[Any, ...], Key] = LRUCache(_REMEMBERED)
"""The other way round: the file that was decoded last to such pixels."""


def decoding() -> tuple[Any, ...]:
    """Return what PIL decodes by now."""
    return tuple(getattr(where, name, None) for name, where in DECODING.items())


def _by(key: Key) -> tuple[Any, ...]:
    return key.text, *decoding()


def header_of(key: Key, data: bytes) -> Header:
    """Read what a file's bytes tell before they are decoded, once for each content."""
    with _lock:
        known = _headers.get(_by(key))
    if known is None:
        known = _read_header(data)
        with _lock:
            _headers[_by(key)] = known
    return known


def file_of(pixels: Key) -> Key | None:
    """The key of a file's bytes that were decoded here to these pixels, if any were."""
    with _lock:
        return _files.get(_by(pixels))


def pixels_of(key: Key, data: bytes) -> Key | None:
    """`Key.from_image` of what a file's bytes decode to; decoded only if they never were before."""
    with _lock:
        known = _pixels.get(_by(key))
    if known is None:
        with suppress(Exception):
            decode(key, data, "a file", remember=True)
        with _lock:
            known = _pixels.get(_by(key))
    return known


def decode(
    key: Key,
    data: bytes,
    label: str,
    *,
    transpose: bool = False,
    by_path: bool = False,
    remember: bool = False,
) -> Image.Image:
    """Decode a file's bytes, turned upright if asked for.

    With `by_path`, the pixels are those that PIL gives when it opens such a file by its name. With
    `remember`, `file_of` knows them, for which they are hashed: a fourth of a decode's time, or more.

    Raises:
        ValueError: PIL can't open them. What a decoder raises over damaged pixels is raised as it is, as
            mlx-vlm does.
    """
    if by_path and header_of(key, data).misread:
        return _decoded_by_path(data)
    try:
        opened = Image.open(BytesIO(data))
    except Exception as error:
        raise ValueError(f"Failed to load image from {label}: {error}") from error
    with opened as image:
        try:
            image.load()
            if remember:
                pixels = Key.from_image(image)
                with _lock:
                    _pixels[_by(key)], _files[_by(pixels)] = pixels, key
            if transpose:
                ImageOps.exif_transpose(image, in_place=True)
        except Exception as error:
            error.add_note(f"while an image was loaded from {label}")
            raise
        return image


def state_of(image: Any) -> str:
    """A digest of what decides how an opened file will be decoded: size, frame, draft, reduction, EXIF.

    That is every plain attribute and palette, but for those that say where the file lies: a plugin may keep
    anything in one. It is the same for all files of one content until somebody does something to one of them.
    """
    held = vars(image)
    plain = sorted((n, repr(v)) for n, v in held.items() if isinstance(v, _PLAIN) and n not in _PLACE)
    tiles = [(*tile[:3], _told(*tile[::3])) for tile in getattr(image, "tile", ())]
    exif = image._exif  # noqa: SLF001  # to ask for it would be to read it
    turned = orientation_of(image) if exif is not None and exif._loaded else None  # noqa: SLF001
    palettes = ((n, p) for n, p in held.items() if isinstance(p, ImagePalette.ImagePalette))
    colours = sorted((n, p.mode, str(p.rawmode), bytes(p.palette)) for n, p in palettes)
    state = type(image), image.tell(), plain, image.info, tiles, turned, colours
    return Key.from_bytes(repr(state).encode("utf-8", "surrogatepass")).text


def _told(codec: str, args: Any) -> Any:
    """Return a decoder's arguments, but for a number of the file in this process."""
    return (*args[:2], *args[3:]) if codec == "libtiff" else args


def _decoded_by_path(data: bytes) -> Image.Image:
    """Decode these bytes as PIL decodes a file that it opens by its name.

    It is upright: PIL turns such files, which are TIFFs, as it decodes them.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "image")
        path.write_bytes(data)
        with Image.open(path) as image:
            image.load()
            return image.copy()  # it may be a map of the file, which goes


def _read_header(data: bytes) -> Header:
    try:
        with Image.open(BytesIO(data)) as image:
            opened = state_of(image)
            misread = _is_misread(image)
            if image.format == "TIFF":  # which PIL turns while it decodes, whoever asks for it
                # By what XMP says too, which it has not looked at before it tells the size.
                told = not misread and (ORIENTATION in vars(image)["tag_v2"] or _orientation(image) == 1)
                return Header(opened, image.mode, image.size if told else None, 1, misread)
            if image.format not in _SAME_SIZE:
                orientation = _orientation(image) if image.format in _SAME_EXIF else None
                return Header(opened, orientation=orientation, misread=misread)
            late = image.format == "PNG" and any(_late_text(data))
            return Header(opened, image.mode, image.size, None if late else _orientation(image))
    except Exception:  # noqa: BLE001  # decoding says what is wrong with it
        return Header()


def _orientation(image: Image.Image) -> int | None:
    """An orientation, or None where EXIF is damaged: applying it raises, as it does in mlx-vlm."""
    try:
        Image.Image.getexif(image)  # PNG's own would decode it all to see whether one follows
    except Exception:  # noqa: BLE001  # whatever struct, fromhex or a TIFF reader finds wrong
        return None
    return orientation_of(image)


def _is_misread(image: Any) -> bool:
    """Tell whether PIL maps such a file, with the width and height that the picture has once turned."""
    if len(image.tile) != 1:
        return False
    codec, extents, _, args = image.tile[0]
    mapped = codec == "raw" and args[0] == image.mode and image.mode in Image._MAPMODES  # noqa: SLF001
    return mapped and tuple(extents[2:]) != image.size


def _late_text(data: bytes) -> Iterator[bytes]:
    """The chunks of a PNG after its first pixels that may hold an orientation."""
    start, pixels = 8, False
    while start + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        pixels = pixels or kind == b"IDAT"
        if pixels and kind in _PNG_TEXT:
            yield kind
        start += 12 + length
