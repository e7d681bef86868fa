"""Key: the identity of an image."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Self

from blake3 import blake3

SOURCE_TAG = "s:"
_TAGS = (SOURCE_TAG, "l:", "b:", "i:", "a:", "f:", "m:", "@")
_ACCEPTED = "a Key, str, Path, bytes-like, PIL image, an array (numpy, mlx, torch), or a list of them"
_PROTOCOLS = ("__array__", "__array_interface__", "__dlpack__")
"""Methods that turn an object that is not numpy's or mlx's into an array of numbers."""
_THREADED = 1 << 20
"""From this many bytes on, hashing on several threads pays."""
ORIENTATION = 0x0112
"""The EXIF tag that says which way up an image is."""
TURNS = range(2, 9)
"""Its values that turn or mirror an image; PIL takes every other one, of whatever type, for upright."""
_PID = os.getpid()
"""The process that may hash on several threads: a forked child inherits blake3's pool without threads."""


class Key:
    """Name an image by text: equal keys are equal images, in every thread and process.

    The text carries its constructor's tag, so keys of different constructors never meet, and lists
    are length-prefixed, so no component can imitate a boundary. Strings are kept verbatim
    (injective); content is a 128-bit blake3 digest (collision-resistant).
    """

    __slots__ = ("text",)
    text: str

    def __init__(self, text: str) -> None:
        """Take the text of an existing key, as `key.text` gave it; ValueError for other text."""
        if not _is_text_of_key(text):
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
        """Make the key of a path or URL, verbatim."""
        if not isinstance(source, str):
            raise TypeError(f"a source is text, not {type(source).__name__}; Key.of takes images too")
        return cls(SOURCE_TAG + source)

    @classmethod
    def from_sources(cls, sources: list[str] | tuple[str, ...]) -> Self:
        """Make the key of several paths or URLs, in order; a list of one is another key than its string."""
        if isinstance(sources, str):
            raise TypeError(f"{sources!r} is one source: Key.from_source({sources!r}), or a list of it")
        return cls("l:" + "".join(map(_framed, sources)))

    @classmethod
    def from_bytes(cls, buffer: Any) -> Self:
        """Make the key of the content of a bytes-like object."""
        return cls("b:" + _digest(buffer))

    @classmethod
    def from_image(cls, image: Any) -> Self:
        """Make the key of a PIL image: mode, size, palette, pixels, transparent colour and EXIF orientation.

        A file that was only opened is decoded.
        Another file with the same pixels has the same key here, but not from `from_file` or `from_bytes`.
        """
        if not _is_a(image, "PIL.Image", "Image"):
            raise TypeError(f"{type(image).__name__} is no PIL image; Key.of takes whatever is an image")
        try:
            pixels = image.tobytes()
        except AssertionError:
            raise ValueError("this image's file was read to its end, as by verify(); open it anew") from None
        palette = image.palette
        colours = () if palette is None else (palette.mode.encode(), palette.tobytes())
        width, height = image.size
        clear, turned = image.info.get("transparency"), orientation_of(image)
        shown = () if clear is None and turned == 1 else (repr((clear, turned)).encode(),)
        shape = b"%dx%d" % (width, height)
        return cls("i:" + _digest(image.mode.encode(), shape, *colours, *shown, pixels))

    @classmethod
    def from_array(cls, array: Any) -> Self:
        """Make the key of an array: its dtype, shape and bytes (evaluates a lazy one).

        One that is neither numpy's nor mlx's is identified by its class too, and by what it gives as
        `__array__`, `__array_interface__` or `__dlpack__`; TypeError when that isn't plain numbers.
        """
        import numpy as np

        is_mlx = _is_a(array, "mlx.core", "array")
        dtype = str(getattr(array, "dtype", "")).removeprefix("mlx.core.")
        if is_mlx and dtype == "bfloat16":
            # numpy has no bfloat16: its bits travel as uint16, under its own name.
            array = array.view(sys.modules["mlx.core"].uint16)
        known = is_mlx or isinstance(array, np.ndarray)
        plain = np.asarray(array) if known else numbers_of(array)
        if plain.dtype.hasobject or plain.dtype.names or isinstance(array, np.ma.MaskedArray):
            kind = type(array).__name__
            raise TypeError(f"{kind} of dtype {plain.dtype} has no plain bytes to identify it by")
        if plain.dtype.byteorder not in "=|":
            plain = plain.astype(plain.dtype.newbyteorder("="))
            dtype = str(plain.dtype)
        if not known:
            dtype = f"{type(array).__module__}.{type(array).__qualname__} {dtype} {plain.dtype}"
        shape = ",".join(map(str, plain.shape))
        content = np.ascontiguousarray(plain).reshape(-1).view(np.uint8)
        return cls("a:" + _digest(dtype.encode(), shape.encode(), content))

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """Make the key of a file's content, read and hashed at every call; may raise OSError.

        A file's times would not do: a writer that has it mapped changes them late or never.
        """
        return cls("f:" + _digest(read_file(path)))

    @classmethod
    def of(cls, source: Any) -> Key:
        """Make the key of whatever names or is an image; TypeError for anything else.

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
        if is_array(source):
            return cls.from_array(source)
        raise TypeError(f"{type(source).__name__} does not identify an image; accepted: {_ACCEPTED}")

    def scoped(self, scope: str) -> Key:
        """Return the key of the same image seen by another model or processor."""
        if not isinstance(scope, str):
            raise TypeError(f"a scope is text, not {type(scope).__name__}")
        return Key("@" + _framed(scope) + self.text)

    @property
    def scope(self) -> str | None:
        """Return the scope that this key was given last, or None."""
        return _parts(self.text)[0] if self.text.startswith("@") else None

    @property
    def unscoped(self) -> Key:
        """Return the key that `scoped` was called on, or this key when it has no scope."""
        return Key(_parts(self.text)[1]) if self.text.startswith("@") else self


def _is_text_of_key(text: str) -> bool:
    """Tell whether text begins with a tag; behind a scope's, the scope and then the text of a key."""
    if not text.startswith("@"):
        return text.startswith(_TAGS)
    try:
        scope, inner = _parts(text)
    except ValueError:
        return False
    return text == "@" + _framed(scope) + inner and _is_text_of_key(inner)


def _parts(text: str) -> tuple[str, str]:
    """Split the text of a scoped key: its scope, and the text of the key that was scoped."""
    length, _, rest = text[1:].partition(":")
    data = rest.encode("utf-8", "surrogatepass")
    end = int(length)
    return data[:end].decode("utf-8", "surrogatepass"), data[end:].decode("utf-8", "surrogatepass")


_set_text = Key.__dict__["text"].__set__  # the slot's own setter, past __setattr__


def read_file(path: str | os.PathLike[str]) -> bytes:
    """Read the content of a file; OSError if it can't be read."""
    with open(path, "rb") as file:  # noqa: PTH123  # open() takes every PathLike
        return file.read()


def is_array(value: Any) -> bool:
    """Tell whether a value is an array: numpy's, mlx's, or by a protocol (a torch tensor is)."""
    # Classes (unbound methods), PIL images and numpy scalars have these methods too, and are no arrays.
    no_array = (type, getattr(sys.modules.get("PIL.Image"), "Image", type))
    return (
        not isinstance(value, no_array)
        and not _is_a(value, "numpy", "generic")
        and any(hasattr(value, name) for name in _PROTOCOLS)
    )


def numbers_of(array: Any) -> Any:
    """Read the numbers that an array by protocol gives, as numpy's; TypeError when it gives none."""
    import numpy as np

    try:
        if hasattr(array, "__array__") or hasattr(array, "__array_interface__"):
            return np.asarray(array)
        return np.from_dlpack(array)
    except Exception as error:
        raise TypeError(f"{type(array).__name__} gives no numbers to identify it by: {error}") from error


def orientation_of(image: Any) -> int:
    """Read which way up a PIL image is, 1 to 8, as `ImageOps.exif_transpose` reads it; 1 if EXIF is damaged.

    Nothing is read into the image itself: PIL raises over damaged EXIF once, and never again.
    """
    exif = image._exif  # noqa: SLF001  # only there does PIL say whether it has been read
    if exif is None or not exif._loaded:  # noqa: SLF001
        beside = sys.modules["PIL.Image"].Image()
        beside.info = image.info
        try:
            exif = beside.getexif()
        except Exception:  # noqa: BLE001  # whatever struct, fromhex or a TIFF reader finds wrong
            return 1
    turned = exif.get(ORIENTATION, 1)
    return next((turn for turn in TURNS if turn == turned), 1)


def _framed(text: str) -> str:
    """`<utf-8 byte length>:<text>`; a path may hold lone surrogates, so they pass."""
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return f"{size}:{text}"


def _digest(*parts: Any) -> str:
    """Digest into 128 bits of blake3 as hex: one part as it is, several each framed by its length."""
    views = [memoryview(part) for part in parts]
    hasher = hasher_of(sum(view.nbytes for view in views))
    for view in views:
        if len(views) > 1:
            hasher.update(view.nbytes.to_bytes(8, "little"))
        hasher.update(view.cast("B") if view.c_contiguous and view.nbytes else bytes(view))
    return str(hasher.hexdigest(length=16))


def hasher_of(nbytes: int) -> Any:
    """Make a blake3 hasher for so many bytes: on several threads where that pays."""
    return blake3(max_threads=blake3.AUTO if nbytes >= _THREADED and os.getpid() == _PID else 1)


def _is_a(value: Any, module: str, name: str) -> bool:
    """Tell whether a value is an instance of a class of a module that is imported already."""
    cls = getattr(sys.modules.get(module), name, None)
    return isinstance(cls, type) and isinstance(value, cls)
