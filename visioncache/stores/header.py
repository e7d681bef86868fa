"""Header: what stands before stored arrays, sealed by a checksum of all the bytes; nothing in it is believed.

It is that of a safetensors file: the arrays are the tensors `0`, `1`, ... in order without gaps, and the
metadata says what else is needed: how the value is nested, the text of its key, what was stored beside it,
the version of this layout and the checksum.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from visioncache.keys import hasher_of

if TYPE_CHECKING:
    from collections.abc import Sequence

VERSION = "1"
MAX_HEADER = 8 << 20
"""Bytes of the header; what is stored beside a value is in it."""
MAX_LEAVES = 4096
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
START = b'{"__metadata__":{"blake3":"'
DIGEST = 64
SEALED = 8 + len(START) + DIGEST
_ALIGN = 64
_FIELDS = ("blake3", "visioncache", "key", "meta", "tree")


Span = tuple[str, list[int], int, int]
"""A tensor's dtype, shape, and where its bytes start and end."""


class Header(NamedTuple):
    """Hold what a header says."""

    key: str
    meta: Any
    tree: Any
    """How the value is nested, as it was written; not checked."""
    spans: list[Span]
    """Where the tensors lie: in order, without gaps, up to the end of the bytes."""
    start: int
    """Where the tensors' bytes start."""


def written(key: str, meta: Any, tree: Any, spans: Sequence[Span], payload: Sequence[Any]) -> list[bytes]:
    """Write the header of tensors, as pieces to put before their bytes.

    Raises:
        TypeError: `meta` holds something that JSON can't hold.
        ValueError: there are more tensors or bytes than the limits allow.
    """
    if len(spans) > MAX_LEAVES:
        raise ValueError(f"a value of {len(spans)} arrays; at most {MAX_LEAVES} can be stored")
    end = sum(map(len, payload))
    if end > MAX_BYTES:
        raise ValueError(f"a value of {end} bytes; at most {MAX_BYTES} can be stored")
    header: dict[str, Any] = {
        "__metadata__": {
            "blake3": "0" * DIGEST,
            "visioncache": VERSION,
            "key": key,
            "meta": json.dumps(meta, separators=(",", ":")),
            "tree": json.dumps(tree, separators=(",", ":")),
        }
    }
    for index, (dtype, shape, start, stop) in enumerate(spans):
        header[str(index)] = {"dtype": DTYPES[dtype][0], "shape": shape, "data_offsets": [start, stop]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % _ALIGN)
    if len(text) > MAX_HEADER:
        raise ValueError(
            f"{len(text)} bytes of key, meta and structure; at most {MAX_HEADER} can be stored beside a value"
        )
    length = len(text).to_bytes(8, "little")
    rest = text[SEALED - 8 :]
    return [length, START, _checksum(length, rest, *payload), rest]


def read(view: memoryview) -> Header:
    """Read the header of stored bytes, once the checksum of all of them holds.

    Raises:
        ValueError: the bytes are not those of a stored value, or not whole.
    """
    tensors, metadata, start = _header(view)
    tree, meta = _json(metadata["tree"]), _json(metadata["meta"])
    return Header(metadata["key"], meta, tree, _spans(tensors, len(view) - start), start)


def _header(view: memoryview) -> tuple[dict[str, Any], dict[str, str], int]:
    """Return the tensors' descriptions, the metadata, and where the tensors' bytes start."""
    if len(view) < SEALED or view[8 : 8 + len(START)] != START:
        raise ValueError("not a stored value: it does not start as one")
    length = int.from_bytes(view[:8], "little")
    if not SEALED - 8 <= length <= min(MAX_HEADER, len(view) - 8):
        raise ValueError(f"not a stored value: a header of {length} bytes in {len(view)}")
    if _checksum(view[:8], view[SEALED:]) != view[SEALED - DIGEST : SEALED]:
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
    """Return `(dtype, shape, start, end)` of every tensor: in order, without gaps, filling `size` bytes."""
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
    """Tell whether this is a list of at most so many non-negative integers that mlx can count with."""
    return (
        isinstance(numbers, list)
        and len(numbers) <= most
        and all(type(number) is int and 0 <= number <= MAX_BYTES for number in numbers)
    )


def _checksum(*parts: Any) -> bytes:
    hasher = hasher_of(sum(map(len, parts)))
    for part in parts:
        hasher.update(part)
    return bytes(hasher.hexdigest().encode())
