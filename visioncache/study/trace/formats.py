"""Formats of traces, ours and other people's: recognised by what a file begins with, read, and written."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from visioncache.study.trace import oracle, tables
from visioncache.study.trace.errors import BadLine, TraceError
from visioncache.study.trace.files import bare_name, open_trace
from visioncache.study.trace.lines import frame_of, object_of, parse, read_lines
from visioncache.study.trace.requested import Blocks, vllm

if TYPE_CHECKING:
    from pathlib import Path

    from visioncache.study.trace.images import ImageModel

Read = tuple[pd.DataFrame, list[BadLine]]
Lines = Callable[["ImageModel | None"], Callable[[dict[str, Any]], list[dict[str, Any]]]]

OURS = "visioncache"


@dataclass(frozen=True)
class Format:
    """A format of traces: the function that reads it, and a word on what it holds."""

    read: Callable[[Path, ImageModel | None], Read]
    about: str
    numbered: bool = False
    """Requests have no names of their own: each file's are numbered from 0."""


def _ours(path: Path, images: ImageModel | None) -> Read:  # noqa: ARG001
    rows, bad = read_lines(path, lambda raw: [parse(raw)])
    return frame_of(rows), bad


def _requests(lines: Lines) -> Callable[[Path, ImageModel | None], Read]:
    def read(path: Path, images: ImageModel | None) -> Read:
        look_ups = lines(images)
        rows, bad = read_lines(path, lambda raw: look_ups(object_of(raw)))
        return frame_of(rows), bad

    return read


FORMATS: dict[str, Format] = {
    OURS: Format(_ours, "JSON lines of events, as `cache.events.to_jsonl` writes them"),
    "csv": Format(tables.lookups, "CSV with a head: a key, a size or tokens, and what else a trace has"),
    "parquet": Format(tables.parquet, "the same columns as parquet"),
    "libcachesim-csv": Format(tables.libcachesim, "libCacheSim's CSV: time, object, size"),
    "oracle-general": Format(oracle.read, "libCacheSim's binary oracleGeneral"),
    "mooncake": Format(
        _requests(Blocks(512, 1e-3)), "Mooncake's JSON lines: blocks of 512 tokens by hash", numbered=True
    ),
    "qwen-bailian": Format(
        _requests(Blocks(16, 1.0)), "Qwen-Bailian's JSON lines: blocks of 16 tokens by hash"
    ),
    "azure-lmm": Format(
        tables.azure_lmm, "Azure's LMM trace of 2025: how many images, not which", numbered=True
    ),
    "servegen": Format(tables.servegen, "a workload of ServeGen as CSV: images' tokens, not which"),
    "vllm": Format(_requests(vllm), "JSON lines of vLLM's requests, with mm_features or mm_hashes"),
}
"""Formats that can be read, by name."""

_HEAD = 65_536


def format_of(path: Path) -> str:
    """Recognise a file's format by what it begins with; one that is empty is ours.

    Raises:
        TraceError: it is in no format that is known.
        OSError: the file can't be read.
        MissingFormatError: it is packed by zstd, and pyarrow is not installed.
    """
    with open_trace(path) as file:
        head = file.read(_HEAD).removeprefix(codecs.BOM_UTF8)
        if head.lstrip().startswith(b"{"):
            head += file.readline()  # a request may have many tokens
    if head.startswith(b"PAR1"):
        return "parquet"
    first = next((line for line in head.splitlines() if line.strip()), b"")
    if "oraclegeneral" in bare_name(path) or (b"\0" in head and oracle.is_likely(head)):
        return "oracle-general"
    if first.lstrip().startswith(b"{"):
        return _of_object(first)
    found = None if b"\0" in head else _of_head(first.decode("utf-8", "replace"))
    if found is not None or not first:
        return found or OURS
    if b"\n{" in head and b"\0" not in head:  # the first line is torn
        return OURS
    shown = "binary" if b"\0" in head else repr(first[:60].decode("utf-8", "replace"))
    raise TraceError(
        f"{path}: in no format that is known: it begins with {shown}; a table needs a head with a key and a "
        f"size; formats: {', '.join(FORMATS)}"
    )


def _of_object(first: bytes) -> str:
    try:
        line = json.loads(first)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        return OURS
    if "hash_ids" in line:
        return "qwen-bailian" if "chat_id" in line else "mooncake"
    return "vllm" if line.keys() & {"mm_features", "mm_hashes"} else OURS


def _of_head(first: str) -> str | None:
    cells = [cell.strip() for cell in first.split(tables.delimiter_of(first))]
    if {"TIMESTAMP", "NumImages"} <= {*cells}:
        return "azure-lmm"
    if {"timestamp", "image_tokens"} <= {*cells}:
        return "servegen"
    known = tables.column_of(cells)
    if "key" in known and known.keys() & {"nbytes", "tokens"}:
        return "csv"
    return "libcachesim-csv" if len(cells) > 2 and all(map(tables.is_numeric, cells[:3])) else None  # noqa: PLR2004
