"""Codec: a feature value to safetensors bytes and back, bit for bit.

The bytes are a safetensors file that any tool can open: the arrays are the tensors `0`, `1`, ... in
order without gaps, and the metadata says what else is needed: how the value is nested, the text of
its key, what was stored beside it, the version of this layout and a checksum of all of it. Nothing in
the bytes is executed or believed: what does not hold together is a ValueError, found in time and
memory that are bounded by the length of the bytes and by the limits below.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from visioncache.keys import hasher_of

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSION = "1"
MAX_HEADER = 8 << 20
"""Bytes of the header; what is stored beside a value is in it."""
MAX_LEAVES = 4096
MAX_DEPTH = 32
MAX_DIMENSIONS = 16
MAX_BYTES = (1 << 31) - 1
"""Bytes of all arrays: each is read as one axis of bytes, which mlx counts in 32 bits."""

# safetensors' name of each dtype of mlx, and the bytes of one element.
DTYPES = {
    "bool": ("BOOL", 1),
    "uint8": ("U8", 1),
    "int8": ("I8", 1),
    "uint16": ("U16", 2),
    "int16": ("I16", 2),
    "uint32": ("U32", 4),
    "int32": ("I32", 4),
    "uint64": ("U64", 8),
    "int64": ("I64", 8),
    "float16": ("F16", 2),
    "bfloat16": ("BF16", 2),
    "float32": ("F32", 4),
    "float64": ("F64", 8),
    "complex64": ("C64", 8),
}
_NAMES = {code: (name, size) for name, (code, size) in DTYPES.items()}

# The header begins with the checksum, at a fixed place; the checksum is of everything else.
_START = b'{"__metadata__":{"blake3":"'
_DIGEST = 64
_SEALED = 8 + len(_START) + _DIGEST
_ALIGN = 64
_FIELDS = ("blake3", "visioncache", "key", "meta", "tree")


Span = tuple[str, list[int], int, int]
"""A tensor's dtype, shape, and where its bytes start and end."""


class Stored(NamedTuple):
    """What was stored."""

    value: Any
    """An mlx array, or a tuple, list or dict of them; evaluated, in buffers of their own."""
    key: str
    """The text of the key that it was stored under."""
    meta: Any
    """What was stored beside it, as JSON keeps it."""


def encode(value: Any, *, key: str, meta: Any = None) -> bytes:
    """A value as bytes.

    Args:
        value: an mlx array, or tuples, lists and dicts (of str) of arrays and None, nested at most
            32 deep. Arrays are evaluated if they have not been. An array that occurs twice is
            stored once.
        key: the text of its key.
        meta: what to keep beside it: what JSON can hold (a tuple comes back as a list).

    Raises:
        TypeError: the value or `meta` holds something else.
        ValueError: it is nested deeper, has more arrays or more meta than the limits allow.
    """
    arrays: dict[int, tuple[int, Any]] = {}
    tree = _outline(value, arrays, MAX_DEPTH)
    if len(arrays) > MAX_LEAVES:
        raise ValueError(f"a value of {len(arrays)} arrays; at most {MAX_LEAVES} can be stored")
    header: dict[str, Any] = {
        "__metadata__": {
            "blake3": "0" * _DIGEST,
            "visioncache": VERSION,
            "key": key,
            "meta": json.dumps(meta, separators=(",", ":")),
            "tree": json.dumps(tree, separators=(",", ":")),
        }
    }
    payload = []
    end = 0
    for index, array in arrays.values():
        raw = _raw(array)
        start, end = end, end + len(raw)
        header[str(index)] = {
            "dtype": DTYPES[_dtype(array)][0],
            "shape": list(array.shape),
            "data_offsets": [start, end],
        }
        payload.append(raw)
    if end > MAX_BYTES:
        raise ValueError(f"a value of {end} bytes; at most {MAX_BYTES} can be stored")
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % _ALIGN)
    if len(text) > MAX_HEADER:
        raise ValueError(
            f"{len(text)} bytes of key, meta and structure; at most {MAX_HEADER} can be stored beside a value"
        )
    length = len(text).to_bytes(8, "little")
    rest = text[_SEALED - 8 :]
    digest = _checksum(length, rest, *payload)
    return b"".join([length, _START, digest, rest, *payload])


def decode(data: Any) -> Stored:
    """What `encode` made bytes of, once its checksum holds; `data` is bytes-like and may be let go then.

    Raises:
        ValueError: the bytes are not what `encode` made, or not whole.
    """
    view = memoryview(data).cast("B")
    header, metadata, start = _header(view)
    tree, meta = _json(metadata["tree"]), _json(metadata["meta"])
    spans = _spans(header, len(view) - start)
    used: set[int] = set()
    _check_tree(tree, len(spans), used, MAX_DEPTH)
    if len(used) != len(spans):
        raise ValueError(f"not a stored value: {len(spans) - len(used)} tensors that nothing refers to")
    return Stored(_build(tree, _arrays(view[start:], spans)), metadata["key"], meta)


# Writing ------------------------------------------------------------------------------------------


def _outline(value: Any, arrays: dict[int, tuple[int, Any]], depth: int) -> Any:
    """A value as JSON: an array is its number, a tuple or list names its type first."""
    if value is None:
        return None
    kind = type(value)
    if kind in {tuple, list, dict} and depth == 0:
        raise ValueError(f"a value nested deeper than {MAX_DEPTH} levels can't be stored")
    if kind in {tuple, list}:
        return [kind.__name__, *(_outline(item, arrays, depth - 1) for item in value)]
    if kind is dict:
        for name in value:
            if type(name) is not str:
                raise TypeError(f"a dict of features has str keys; found {name!r}")
        return {name: _outline(item, arrays, depth - 1) for name, item in value.items()}
    if _dtype(value) not in DTYPES:
        raise TypeError(
            f"a stored value is an mlx array, or a tuple, list or dict of them; found {kind.__name__}"
        )
    return arrays.setdefault(id(value), (len(arrays), value))[0]


def _dtype(array: Any) -> str:
    """The name of an mlx array's dtype; empty for anything else."""
    module, _, name = str(getattr(array, "dtype", "")).rpartition(".")
    return name if module == "mlx.core" else ""


def _raw(array: Any) -> memoryview:
    """The bytes of an array in row-major order, copied only when it is laid out otherwise."""
    import numpy as np

    view = memoryview(array)
    # numpy reads the bytes whatever the format: memoryview itself does not know bfloat16.
    return np.frombuffer(view, dtype=np.uint8).data if view.c_contiguous else memoryview(view.tobytes())


def _checksum(*parts: Any) -> bytes:
    hasher = hasher_of(sum(map(len, parts)))
    for part in parts:
        hasher.update(part)
    return bytes(hasher.hexdigest().encode())


# Reading ------------------------------------------------------------------------------------------


def _header(view: memoryview) -> tuple[dict[str, Any], dict[str, str], int]:
    """The tensors' descriptions, the metadata, and where the tensors' bytes start."""
    if len(view) < _SEALED or view[8 : 8 + len(_START)] != _START:
        raise ValueError("not a stored value: it does not start as one")
    length = int.from_bytes(view[:8], "little")
    if not _SEALED - 8 <= length <= min(MAX_HEADER, len(view) - 8):
        raise ValueError(f"not a stored value: a header of {length} bytes in {len(view)}")
    if _checksum(view[:8], view[_SEALED:]) != view[_SEALED - _DIGEST : _SEALED]:
        raise ValueError("a stored value was damaged: its checksum is another")
    header = _json(bytes(view[8 : 8 + length]))
    metadata = header.pop("__metadata__") if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or set(metadata) != set(_FIELDS):
        raise ValueError(f"not a stored value: its metadata are not {', '.join(_FIELDS)}")
    if not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError("not a stored value: metadata that are not text")
    if metadata["visioncache"] != VERSION:
        raise ValueError(f"a stored value of layout {metadata['visioncache']!r}; this reads {VERSION!r}")
    return header, metadata, 8 + length


def _json(text: str | bytes) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not a stored value: {error}") from None


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _spans(header: dict[str, Any], size: int) -> list[Span]:
    """`(dtype, shape, start, end)` of every tensor: in order, without gaps, filling `size` bytes."""
    if len(header) > MAX_LEAVES:
        raise ValueError(f"not a stored value: {len(header)} tensors; at most {MAX_LEAVES} are read")
    spans = []
    end = 0
    for index in range(len(header)):
        dtype, shape, start, stop = _description(header.get(str(index)), index)
        if start != end:
            raise ValueError(f"not a stored value: tensor {index} starts at {start}, not at {end}")
        end = stop
        spans.append((dtype, shape, start, stop))
    if end != size:
        raise ValueError(f"not a stored value: its tensors fill {end} of {size} bytes")
    return spans


def _description(entry: Any, index: int) -> Span:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"not a stored value: tensor {index} is not described")
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    known = _NAMES.get(code) if isinstance(code, str) else None
    if known is None:
        raise ValueError(f"not a stored value: tensor {index} has an unknown dtype")
    if not (_counts(shape, MAX_DIMENSIONS) and _counts(offsets, 2)) or len(offsets) != 2:  # noqa: PLR2004
        raise ValueError(f"not a stored value: tensor {index} has no proper shape and offsets")
    name, size = known
    for axis in shape:
        size *= axis
    start, end = offsets
    if end - start != size:
        raise ValueError(f"not a stored value: tensor {index} of {size} bytes is given {end - start}")
    return name, shape, start, end


def _counts(numbers: Any, most: int) -> bool:
    """Whether this is a list of at most so many non-negative integers that mlx can count with."""
    return (
        isinstance(numbers, list)
        and len(numbers) <= most
        and all(type(number) is int and 0 <= number <= MAX_BYTES for number in numbers)
    )


def _check_tree(tree: Any, count: int, used: set[int], depth: int) -> None:
    """ValueError unless a tree is one that `_outline` makes of `count` arrays."""
    if tree is None:
        return
    if isinstance(tree, (list, dict)) and depth == 0:
        raise ValueError(f"not a stored value: nested deeper than {MAX_DEPTH} levels")
    for item in _children(tree):
        _check_tree(item, count, used, depth - 1)
    if type(tree) is int:
        if not 0 <= tree < count:
            raise ValueError(f"not a stored value: there is no tensor {tree}")
        used.add(tree)
    elif not isinstance(tree, dict) and not (
        isinstance(tree, list) and tree and tree[0] in {"tuple", "list"}
    ):
        raise ValueError("not a stored value: nested in an unknown way")


def _children(tree: Any) -> Iterator[Any]:
    if isinstance(tree, dict):
        yield from tree.values()
    elif isinstance(tree, list):
        yield from tree[1:]


def _arrays(payload: memoryview, spans: list[Span]) -> list[Any]:
    """Evaluated arrays, each with a copy of its bytes."""
    import mlx.core as mx
    import numpy as np

    arrays = []
    for name, shape, start, end in spans:
        raw = mx.array(np.frombuffer(payload[start:end], dtype=np.uint8))
        # On the CPU: a GPU has no float64, and nothing is computed here.
        typed = mx.view(raw, getattr(mx, name if name != "bool" else "bool_"), stream=mx.cpu)
        arrays.append(mx.reshape(typed, shape, stream=mx.cpu))
    mx.eval(arrays)  # so that any thread may use them
    return arrays


def _build(tree: Any, arrays: list[Any]) -> Any:
    if isinstance(tree, list):
        items = [_build(item, arrays) for item in tree[1:]]
        return tuple(items) if tree[0] == "tuple" else items
    if isinstance(tree, dict):
        return {name: _build(item, arrays) for name, item in tree.items()}
    return None if tree is None else arrays[tree]
