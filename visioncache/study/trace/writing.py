"""Writing traces in the formats of others: CSV, parquet, libCacheSim's CSV and its oracleGeneral."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from visioncache.study.trace.errors import TraceError
from visioncache.study.trace.files import COMPRESSED, bare_name, pyarrow, replaced, write_trace
from visioncache.study.trace.formats import OURS
from visioncache.study.trace.lines import COLUMNS
from visioncache.study.trace.lookups import requests
from visioncache.study.trace.oracle import RECORD
from visioncache.study.trace.traces import TraceLike, load_trace, save_trace

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray


def convert(
    source: TraceLike,
    path: str | os.PathLike[str],
    format: str,  # noqa: A002  # as `read_trace` calls it
    *,
    of: str | None = None,
) -> int:
    """Write a trace in a format; return how many look-ups or events. A name in .gz or .zst is packed.

    Args:
        source: a trace, in any format that `read_trace` reads.
        path: the file to write.
        format: "visioncache", "csv", "parquet", "libcachesim-csv" or "oracle-general". The last two hold
            look-ups alone: time, object and size.
        of: the source's format, where it is not to be recognised.

    Raises:
        TraceError: the trace can't be read, or the format can't hold it.
        ValueError: there is no such format to write.
    """
    form = format_to_write(Path(path), format)
    return WRITERS[form](load_trace(source, format=of), Path(path))


def format_to_write(path: Path, format: str | None = None) -> str:  # noqa: A002
    """Check a format to write, or find it by how a file's name ends.

    Raises:
        ValueError: there is no such format, no such ending, or the file would not be what its name says.
    """
    known = ", ".join(WRITERS)
    if format is None:
        name = bare_name(path)
        found = [form for ending, form in _ENDINGS.items() if name.endswith(ending.lower())]
        if not found:
            raise ValueError(
                f"{path}: which format? Its name ends in none of {', '.join(_ENDINGS)}; --to: {known}"
            )
        format = found[0]  # noqa: A001
    if format not in WRITERS:
        raise ValueError(f"no format {format!r} to write; there are: {known}")
    if format == "parquet" and path.suffix in COMPRESSED:
        raise ValueError(f"{path}: parquet packs its columns itself; name it without {path.suffix}")
    return format


def left_out(trace: pd.DataFrame, format: str) -> list[str]:  # noqa: A002
    """List what a trace tells and a format does not hold: columns by name."""
    if format == OURS:  # a miss without bytes says that they are unknown
        made = trace["outcome"].isna() if "outcome" in trace else True
        return ["value of 0 bytes"] if (made & trace["nbytes"].eq(0)).any() else []
    if format not in {"libcachesim-csv", "oracle-general"}:
        return []
    return [str(name) for name in _told(trace).columns if name not in {"time", "key", "nbytes"}]


def _save_csv(trace: pd.DataFrame, path: Path) -> int:
    write_trace(path, _told(trace).to_csv(index=False, lineterminator="\n").encode())
    return len(trace)


def _save_parquet(trace: pd.DataFrame, path: Path) -> int:
    pyarrow()
    with replaced(path) as beside:
        _told(trace).to_parquet(beside, index=False)
    return len(trace)


def _save_oracle(trace: pd.DataFrame, path: Path) -> int:
    """Write a trace's look-ups as oracleGeneral; return how many.

    Times become whole seconds. Keys stay as they are if all are numbers that fit, else images are numbered
    from 1, in order of appearance.

    Raises:
        TraceError: a value has 4 GiB or more, or times span more than 2**32 seconds.
    """
    records = _records(trace)
    write_trace(path, records.tobytes())
    return len(records)


def _save_libcachesim(trace: pd.DataFrame, path: Path) -> int:
    """Write a trace's look-ups as libCacheSim's CSV (time, obj_id, obj_size), with a head.

    Times and keys are `_save_oracle`'s.
    libCacheSim reads it with time-col=1, obj-id-col=2, obj-size-col=3, has-header=true, obj-id-is-num=true.
    """
    records = _records(trace)
    table = pd.DataFrame({"time": records["time"], "obj_id": records["object"], "obj_size": records["size"]})
    write_trace(path, table.to_csv(index=False, lineterminator="\n").encode())
    return len(records)


def _records(trace: pd.DataFrame) -> NDArray[np.void]:
    asked = requests(trace)
    sizes = asked["nbytes"].to_numpy(np.int64)
    if len(sizes) and sizes.max() >= 2**32:
        raise TraceError(f"a value has {sizes.max()} bytes; libCacheSim's formats hold less than 2**32")
    time = pd.to_numeric(asked["time"], errors="coerce").fillna(0).to_numpy(np.float64)
    if len(time) and (time.min() < 0 or time.max() >= 2**32):
        time = time - time.min()
        if time.max() >= 2**32:
            raise TraceError("the look-ups span more than 2**32 seconds")
    image = asked["image"].to_numpy(np.int64)
    records = np.empty(len(asked), RECORD)
    records["time"], records["size"] = time.astype(np.uint32), sizes
    records["object"] = _numbers(asked["key"], image)
    after = np.full(len(image), -1, np.int64)
    order = np.argsort(image, kind="stable")
    same = image[order][1:] == image[order][:-1]
    after[order[:-1][same]] = order[1:][same] + 1
    records["next"] = after
    return records


def _numbers(keys: pd.Series[str], image: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Give keys as numbers of 64 bits: themselves where all are such, else images' numbers from 1."""
    plain = [key for key in keys.unique() if key.isascii() and key.isdecimal() and str(int(key)) == key]
    if len(plain) == keys.nunique() and all(int(key) < 2**64 for key in plain):
        return keys.map({key: np.uint64(int(key)) for key in plain}).to_numpy(np.uint64)
    return image.astype(np.uint64) + np.uint64(1)


def _told(trace: pd.DataFrame) -> pd.DataFrame:
    """Give the columns of a trace that hold anything, names as text and whole numbers as such."""
    told = trace.reindex(columns=[*COLUMNS]).dropna(axis="columns", how="all")
    for name in ("session", "turn", "request"):
        if name in told:
            told[name] = told[name].astype("string")
    for name in ("nbytes", "tokens", "seq"):
        if name in told and told[name].dropna().mod(1).eq(0).all():
            told[name] = told[name].astype("Int64")
    return told


WRITERS = {
    OURS: save_trace,
    "csv": _save_csv,
    "parquet": _save_parquet,
    "libcachesim-csv": _save_libcachesim,
    "oracle-general": _save_oracle,
}
"""Formats that `convert` writes, by name."""

_ENDINGS = {".jsonl": OURS, ".csv": "csv", ".parquet": "parquet", ".oracleGeneral": "oracle-general"}
