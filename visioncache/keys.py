"""Key: the identity of an image."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any, ClassVar, Self

from blake3 import blake3

SOURCE_TAG = "s:"
_TAGS = (SOURCE_TAG, "l:", "b:", "i:", "a:", "f:", "m:", "@")
_ACCEPTED = "a Key, str, Path, bytes-like, PIL image, numpy or mlx array, or a list of them"
_THREADED = 1 << 20
"""From this many bytes on, hashing on several threads pays."""
_ORIENTATION = 0x0112
"""The EXIF tag that says which way up an image is."""
_PID = os.getpid()
"""The process that may do so: a forked child inherits blake3's thread pool without its threads."""


class Key:
    """What an image is, as text: equal keys are equal images, in every thread and process.

    The text carries its constructor's tag, so keys of different constructors never meet, and lists
    are length-prefixed, so no component can imitate a boundary. Strings are kept verbatim
    (injective); content is a 128-bit blake3 digest (collision-resistant).
    """

    __slots__ = ("text",)
    text: str

    def __init__(self, text: str) -> None:
        """Take the text of an existing key, as `key.text` gave it; ValueError for other text."""
        if not text.startswith(_TAGS):
            raise ValueError(f"{text!r} is not the text of a key; Key.of({text!r}) makes one")
        _set_text(self, text)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Key is immutable; cannot set {name!r}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Key is immutable; cannot delete {name!r}")

    def __eq__(self, other: object) -> bool:
        return self.text == other.text if isinstance(other, Key) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Key({self.text!r})"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[type[Key], tuple[str]]:
        return Key, (self.text,)

    @classmethod
    def from_source(cls, source: str) -> Self:
        """A path or URL, verbatim."""
        if not isinstance(source, str):
            raise TypeError(f"a source is text, not {type(source).__name__}; Key.of takes images too")
        return cls(SOURCE_TAG + source)

    @classmethod
    def from_sources(cls, sources: list[str] | tuple[str, ...]) -> Self:
        """Several paths or URLs; their order counts, and one of them is not the string itself."""
        if isinstance(sources, str):
            raise TypeError(f"{sources!r} is one source: Key.from_source({sources!r}), or a list of it")
        return cls("l:" + "".join(map(_framed, sources)))

    @classmethod
    def from_bytes(cls, buffer: Any) -> Self:
        """The content of a bytes-like object."""
        return cls("b:" + _digest(buffer))

    @classmethod
    def from_image(cls, image: Any) -> Self:
        """A PIL image: its mode, size, palette, pixels, and what else changes how these are shown.

        That is a transparent colour and an EXIF orientation. A file that was only opened is decoded.
        """
        if not _is_a(image, "PIL.Image", "Image"):
            raise TypeError(f"{type(image).__name__} is no PIL image; Key.of takes whatever is an image")
        pixels = image.tobytes()
        palette = image.palette
        colours = () if palette is None else (palette.mode.encode(), palette.tobytes())
        width, height = image.size
        clear, turned = image.info.get("transparency"), image.getexif().get(_ORIENTATION, 1)
        shown = () if clear is None and turned == 1 else (repr((clear, turned)).encode(),)
        shape = b"%dx%d" % (width, height)
        return cls("i:" + _digest(image.mode.encode(), shape, *colours, *shown, pixels))

    @classmethod
    def from_array(cls, array: Any) -> Self:
        """A numpy or mlx array: its dtype, shape and bytes (evaluates a lazy one)."""
        import numpy as np

        dtype = str(array.dtype).removeprefix("mlx.core.")
        if dtype == "bfloat16" and _is_a(array, "mlx.core", "array"):
            # numpy has no bfloat16: its bits travel as uint16, under its own name.
            array = array.view(sys.modules["mlx.core"].uint16)
        plain = np.asarray(array)
        if plain.dtype.hasobject or plain.dtype.names or isinstance(array, np.ma.MaskedArray):
            kind = type(array).__name__
            raise TypeError(f"{kind} of dtype {plain.dtype} has no plain bytes to identify it by")
        if plain.dtype.byteorder not in "=|":
            plain = plain.astype(plain.dtype.newbyteorder("="))
            dtype = str(plain.dtype)
        shape = ",".join(map(str, array.shape))
        content = np.ascontiguousarray(plain).reshape(-1).view(np.uint8)
        return cls("a:" + _digest(dtype.encode(), shape.encode(), content))

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """The content of a file, read again only when the file has changed; may raise OSError."""
        key = known_file(path) or read_file(path)[0]
        return cls(key.text)

    @classmethod
    def of(cls, source: Any) -> Key:
        """The key of whatever names or is an image; TypeError for anything else.

        A string is kept verbatim; a Path is the file's content. `id()` is never an identity.
        """
        if isinstance(source, Key):
            return source
        if isinstance(source, str):
            return cls.from_source(source)
        if isinstance(source, Path):
            return cls.from_file(source)
        if isinstance(source, (bytes, bytearray, memoryview)):
            return cls.from_bytes(source)
        if isinstance(source, (list, tuple)):
            if all(isinstance(item, str) for item in source):
                return cls.from_sources(source)
            return cls("m:" + "".join(_framed(cls.of(item).text) for item in source))
        if _is_a(source, "PIL.Image", "Image"):
            return cls.from_image(source)
        if _is_a(source, "numpy", "ndarray") or _is_a(source, "mlx.core", "array"):
            return cls.from_array(source)
        raise TypeError(f"{type(source).__name__} does not identify an image; accepted: {_ACCEPTED}")

    def scoped(self, scope: str) -> Key:
        """The same image seen by another model or processor: another key."""
        if not isinstance(scope, str):
            raise TypeError(f"a scope is text, not {type(scope).__name__}")
        return Key("@" + _framed(scope) + self.text)

    @property
    def scope(self) -> str | None:
        """The scope that this key was given last, or None."""
        return self._parts()[0]

    @property
    def unscoped(self) -> Key:
        """The key that `scoped` was called on, or this key when it has no scope."""
        return Key(self._parts()[1])

    def _parts(self) -> tuple[str | None, str]:
        if not self.text.startswith("@"):
            return None, self.text
        length, _, rest = self.text[1:].partition(":")
        data = rest.encode("utf-8", "surrogatepass")
        end = int(length)
        scope, inner = (part.decode("utf-8", "surrogatepass") for part in (data[:end], data[end:]))
        return scope, inner


_set_text = Key.__dict__["text"].__set__  # the slot's own setter, past __setattr__


def known_file(path: str | os.PathLike[str]) -> Key | None:
    """The key of a file that has not changed since it was read; None when it must be read."""
    digest = _FILES.get(path)
    return None if digest is None else Key("f:" + digest)


def read_file(path: str | os.PathLike[str]) -> tuple[Key, bytes]:
    """A file's key and the very bytes that it was made from; OSError if it can't be read."""
    with open(path, "rb") as file:  # noqa: PTH123  # open() takes every PathLike
        opened_ns = time.time_ns()
        before = os.fstat(file.fileno())
        data = file.read()
        after = os.fstat(file.fileno())
    digest = _digest(data)
    if _identity(before) == _identity(after) and _settled(before, opened_ns):
        _FILES.remember(path, before, digest)
    return Key("f:" + digest), data


class _KnownFiles:
    """Digests by (real path, device, inode, size, mtime_ns, ctime_ns), the latest few thousand."""

    capacity: ClassVar[int] = 4096

    def __init__(self) -> None:
        self._digests: OrderedDict[tuple[Any, ...], str] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, path: str | os.PathLike[str]) -> str | None:
        name = (os.path.realpath(path), *_identity(os.stat(path)))  # noqa: PTH116
        with self._lock:
            if name in self._digests:
                self._digests.move_to_end(name)
            return self._digests.get(name)

    def remember(self, path: str | os.PathLike[str], stat: os.stat_result, digest: str) -> None:
        with self._lock:
            self._digests[(os.path.realpath(path), *_identity(stat))] = digest
            if len(self._digests) > self.capacity:
                self._digests.popitem(last=False)


_FILES = _KnownFiles()


def _settled(stat: os.stat_result, now_ns: int) -> bool:
    """Whether a write after `now_ns` is sure to show in the file's times.

    One within the same tick of the file system's clock does not (git calls this "racily clean").
    """
    tick_ns = 2_000_000_000 if stat.st_mtime_ns % 1_000_000_000 == 0 else 20_000_000
    return now_ns - max(stat.st_mtime_ns, stat.st_ctime_ns) >= tick_ns


def _identity(stat: os.stat_result) -> tuple[int, ...]:
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _framed(text: str) -> str:
    """`<utf-8 byte length>:<text>`; a path may hold lone surrogates, so they pass."""
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return f"{size}:{text}"


def _digest(*parts: Any) -> str:
    """128 bits of blake3 as hex: of one part as it is, of several each framed by its length."""
    views = [memoryview(part) for part in parts]
    large = sum(view.nbytes for view in views) >= _THREADED
    threads = blake3.AUTO if large and os.getpid() == _PID else 1
    hasher = blake3(max_threads=threads)
    for view in views:
        if len(views) > 1:
            hasher.update(view.nbytes.to_bytes(8, "little"))
        hasher.update(view.cast("B") if view.c_contiguous and view.nbytes else bytes(view))
    return hasher.hexdigest(length=16)


def _is_a(value: Any, module: str, name: str) -> bool:
    """Whether a value is an instance of a class of a module that is imported already."""
    cls = getattr(sys.modules.get(module), name, None)
    return isinstance(cls, type) and isinstance(value, cls)
