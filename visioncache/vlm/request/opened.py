"""Opened images of PIL: the bytes that nobody has decoded yet, and classes with ways of their own."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any
from weakref import ref

from PIL import Image, ImageFile

from visioncache.keys import Key
from visioncache.vlm.request.file import header_of, state_of
from visioncache.vlm.scope.code import library_of

_reading = threading.RLock()
"""Around where an opened file is read: another thread may be asking about the same one."""
_read: dict[int, tuple[ref[Any], bytes]] = {}
"""By the image's `id`, what its file held when it was first asked about."""
_UNUSED = frozenset({"__init__", "__module__", "__doc__", "__repr__", "__firstlineno__"})
"""Names of a class of images that decide no pixel."""


def unread(image: Any) -> bytes | None:
    """Return the bytes of a file that PIL has opened and nobody has decoded or changed; None otherwise.

    They are those of the first time: without a cache the image would have been decoded then, and stay that
    picture whatever becomes of its file.
    """
    if not isinstance(image, ImageFile.ImageFile) or image._im is not None or image.fp is None:  # noqa: SLF001
        return None
    with suppress(ValueError), _reading:  # it was closed
        owner, data = _read.get(id(image), (None, b""))
        if owner is None or owner() is not image:
            position = image.fp.tell()
            image.fp.seek(0)
            data = bytes(image.fp.read())
            image.fp.seek(position)
        if header_of(Key.from_bytes(data), data).state == state_of(image):
            _read[id(image)] = ref(image, _forget(id(image))), data
            return data
    return None


def _forget(name: int) -> Any:
    def forget(gone: ref[Any]) -> None:
        if _read.get(name, (None,))[0] is gone:
            del _read[name]

    return forget


def has_own_ways(image: Image.Image) -> bool:
    """Tell whether an image or its class has methods in the place of PIL's: pixels may be others then."""
    bases = (vars(base) for base in type(image).__mro__ if base is not object and not library_of(base))
    own = {name for names in bases for name in names} - _UNUSED
    own |= {name for name, value in vars(image).items() if callable(value)}
    return not own.isdisjoint(vars(Image.Image))
