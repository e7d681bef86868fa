"""Files of traces: opened for reading and writing whatever they are compressed with, by gzip or zstd."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
"""First bytes of compressed files (RFC 1952, RFC 8878)."""

COMPRESSED = (".gz", ".zst")


class MissingFormatError(ImportError):
    """A format that an extra reads, which is not installed."""


def pyarrow() -> Any:
    """Import pyarrow; MissingFormatError tells which extra brings it."""
    try:
        import pyarrow as pa
    except ImportError:
        raise MissingFormatError("parquet and zstd need pyarrow: pip install visioncache[traces]") from None
    return pa


def open_trace(path: Path) -> IO[bytes]:
    """Open a file for reading; one that gzip or zstd has packed is unpacked on the way."""
    with path.open("rb") as file:
        first = file.read(4)
    if first.startswith(_GZIP):
        return cast("IO[bytes]", gzip.open(path, "rb"))
    if first == _ZSTD:
        return io.BufferedReader(pyarrow().input_stream(str(path), compression="zstd"))
    return path.open("rb")


def write_trace(path: Path, content: bytes) -> None:
    """Write a file, packed as its name ends: .gz, .zst, or neither."""
    if path.suffix == ".gz":
        content = gzip.compress(content, mtime=0)
    elif path.suffix == ".zst":
        content = pyarrow().compress(content, codec="zstd", asbytes=True)
    path.write_bytes(content)


def bare_name(path: Path) -> str:
    """Give a file's name in lower case, without the ending of what packed it."""
    return (path.stem if path.suffix in COMPRESSED else path.name).lower()


def paths(source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[Path]:
    """List the files of a trace."""
    if isinstance(source, (list, tuple)):
        return [Path(path) for path in source]
    return [Path(source)]  # type: ignore[arg-type]
