"""Opened images of PIL: the bytes that nobody has decoded yet, and classes with ways of their own."""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from io import BytesIO
from typing import Any
from weakref import ref

from PIL import Image, ImageFile, TiffImagePlugin
from PIL._util import DeferredError

from visioncache.keys import Key
from visioncache.vlm.patching.instances import class_of
from visioncache.vlm.patching.touched import deaf, fields, hear, is_heard, leave
from visioncache.vlm.request.file import header_of, state_of
from visioncache.vlm.scope.code import library_of

_reading = threading.RLock()
"""Around where an opened file is read: another thread may be asking about the same one."""
_read: dict[int, tuple[ref[Any], bytes]] = {}
"""By the image's `id`, what its file held when it was first asked about."""
_UNUSED = frozenset({"__init__", "__module__", "__doc__", "__repr__", "__firstlineno__"})
"""Names of a class of images that decide no pixel."""
_FILE = frozenset({"fp", "_fp"})
"""Attributes that hold an image's file, which is not read again: the end of a `with` closes it."""
_SHOWN = _FILE | {"filename", "format", "format_description", "_exclusive_fp", "_close_fp", "_im", "tile"}
"""Attributes that are the same once an image is decoded, whatever its format, or tell that it is not."""
_SHOWN_BY_HEADERS = _SHOWN | {"size", "width", "height", "mode", "_size", "_mode"}
"""Such attributes where a header tells size and mode."""
_ALONE = {"palette": object()}
_ON_STACK = sys.getrefcount(_ALONE["palette"]) - 1
"""References to an object that Python has while it counts them."""
_OWN = frozenset({"filename", "_exclusive_fp", "info", "_exif"})
"""Attributes that an image keeps when it is decoded."""


def unread(image: Any) -> bytes | None:
    """Return the bytes of a file that PIL has opened and nobody has decoded or changed; None otherwise.

    They are those of the first time: without a cache the image would have been decoded then. So it is,
    from these bytes, before anybody does anything with it, such as to draw on it or to close its file.
    It is none of these if others could change it unheard: PIL maps its file, or somebody holds its palette.
    """
    if not isinstance(image, ImageFile.ImageFile) or _will_be_mapped(image):
        return None
    with suppress(ValueError), _reading:  # it was closed
        if is_heard(image):
            data = _read[id(image)][1]
            with deaf(image):
                is_same = header_of(Key.from_bytes(data), data).state == state_of(image)
            if is_same:
                return data
            _decode(image, "info")  # somebody held a part of it, and changed that
        elif image._im is None and image.fp is not None and not _shares_palette(vars(image)):  # noqa: SLF001
            position = image.fp.tell()
            image.fp.seek(0)
            data = bytes(image.fp.read())
            image.fp.seek(position)
            header = header_of(Key.from_bytes(data), data)
            if header.state == state_of(image):
                _read[id(image)] = ref(image, _forget(id(image))), data
                hear(image, _decode, _SHOWN if header.size is None else _SHOWN_BY_HEADERS, _FILE)
                return data
    return None


def _will_be_mapped(image: ImageFile.ImageFile) -> bool:
    """Tell whether PIL, asked for pixels, will map the file of that name into memory."""
    own = fields(image)
    if is_heard(image) or not own.get("filename") or len(own.get("tile", ())) != 1:
        return False
    codec, _, _, args = own["tile"][0]
    rawmode = args if isinstance(args, str) else args[0] if isinstance(args, tuple) and args else ""
    reads = hasattr(image, "load_read") or hasattr(image, "load_seek")
    return codec == "raw" and rawmode == own["_mode"] and rawmode in Image._MAPMODES and not reads  # noqa: SLF001


def _shares_palette(own: dict[str, Any]) -> bool:
    """Tell whether somebody besides an image holds its palette, and may write into it unheard."""
    inside = sum(value is own["palette"] for value in own.values())
    return own["palette"] is not None and sys.getrefcount(own["palette"]) - inside > _ON_STACK


def _forget(name: int) -> Any:
    def forget(gone: ref[Any]) -> None:
        if _read.get(name, (None,))[0] is gone:
            del _read[name]

    return forget


def _decode(image: Any, name: str) -> None:
    """Decode an image before an attribute of it is touched, as if it were decoded when it was asked about."""
    with _reading:
        if not is_heard(image):
            return
        own, kind = fields(image), class_of(image)
        data = _read.pop(id(image))[1]
        now = None if name == "close" else _decoded(kind, data)
        if now is not None:
            with deaf(image):
                is_same = header_of(Key.from_bytes(data), data).state == state_of(image)
            _replace(own, vars(now), is_same=is_same)
            kind = type(now)
        leave(image, kind)


def _decoded(kind: type, data: bytes) -> Any:
    """Decode bytes by a class of PIL's; None for damaged ones, which raise whenever pixels are asked for."""
    with suppress(Exception):
        image = kind(BytesIO(data))
        image.load()
        return image
    return None


def _replace(own: dict[str, Any], now: dict[str, Any], *, is_same: bool) -> None:
    """Give an image the attributes of its like that was decoded, and close its file.

    With `is_same` nobody changed what it says besides its pixels, which may be more now.
    """
    if is_same:
        own["info"].clear()
        own["info"].update(now["info"])
        own["_exif"] = now["_exif"] if own["_exif"] is None else own["_exif"]
    was_closed = isinstance(own.get("_fp"), DeferredError) and now.get("_fp")
    if own["_exclusive_fp"] and own["fp"] is not None:
        own["fp"].close()
    kept = _OWN | {"_fp"} if was_closed else _OWN
    own.update((name, value) for name, value in now.items() if name not in kept)


def mode_of(source: Any) -> str:
    """Return the mode that an image has now, without decoding it; RGB of what is no image yet."""
    return str(fields(source)["_mode"] if is_heard(source) else getattr(source, "mode", "RGB"))


def has_own_ways(image: Image.Image) -> bool:
    """Tell whether an image or its class has methods in the place of PIL's: pixels may be others then.

    So may those of an image that says another size than its pixels have.
    """
    bases = (vars(base) for base in class_of(image).__mro__ if base is not object and not library_of(base))
    own = {name for names in bases for name in names} - _UNUSED
    own |= {name for name, value in fields(image).items() if callable(value)}
    return not own.isdisjoint(vars(Image.Image)) or _says_another_size(image)


def _says_another_size(image: Image.Image) -> bool:
    """Tell whether an image was sized by an orientation that was taken out of it before it was decoded."""
    own = fields(image)
    if isinstance(image, TiffImagePlugin.TiffImageFile) and own["_exif"] is not None and not is_heard(image):
        with suppress(Exception):  # what is wrong with it is said where it is used
            image.load()
    return own.get("_im") is not None and own["_im"].size != own.get("_size")
