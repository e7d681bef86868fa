"""Files of traces: opened for reading and writing whatever they are compressed with, by gzip or zstd."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from visioncache.study.trace.errors import TraceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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


@contextmanager
def open_trace(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for reading; one that gzip or zstd has packed is unpacked on the way.

    Raises:
        TraceError: what is packed is damaged or cut short, or it is no file that can be read twice.
        OSError: the file can't be read.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise TraceError(f"{path}: a pipe can be read only once, a trace is read twice: write it to a file")
    with path.open("rb") as file:
        first = file.read(4)
    if first.startswith(_GZIP):
        name, opened = "gzip", cast("IO[bytes]", gzip.GzipFile(path, "rb"))
    elif first == _ZSTD:
        name, opened = "zstd", io.BufferedReader(pyarrow().input_stream(str(path), compression="zstd"))
    else:
        name, opened = "", path.open("rb")
    with opened:
        try:
            yield opened
        except (EOFError, OSError, zlib.error) as error:
            if not name:
                raise
            raise TraceError(
                f"{path}: what {name} packed is damaged or cut short ({error}); "
                f"`{name} -dc {path} > FILE` writes what is left of it"
            ) from None


def write_trace(path: Path, content: bytes) -> None:
    """Write a file at once or not at all, packed as its name ends: .gz, .zst, or neither."""
    if path.suffix == ".gz":
        content = gzip.compress(content, mtime=0)
    elif path.suffix == ".zst":
        content = pyarrow().compress(content, codec="zstd", asbytes=True)
    with replaced(path) as beside:
        beside.write_bytes(content)


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Give the name of a file to write beside another, which it replaces when all is written."""
    if path.exists() and not path.is_file():  # a pipe, or /dev/stdout
        yield path
        return
    path = path.resolve()  # a link stays one
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def bare_name(path: Path) -> str:
    """Give a file's name in lower case, without the ending of what packed it."""
    return (path.stem if path.suffix in COMPRESSED else path.name).lower()


def paths(source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[Path]:
    """List the files of a trace."""
    if isinstance(source, (list, tuple)):
        return [Path(path) for path in source]
    return [Path(source)]  # type: ignore[arg-type]
