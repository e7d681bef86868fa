"""libCacheSim's binary format, oracleGeneral: its record, and reading it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from visioncache.study.trace.errors import BadLine, TraceError
from visioncache.study.trace.files import open_trace
from visioncache.study.trace.lines import COLUMNS

if TYPE_CHECKING:
    from pathlib import Path

    from visioncache.study.trace.images import ImageModel

RECORD = np.dtype([("time", "<u4"), ("object", "<u8"), ("size", "<u4"), ("next", "<i8")])
"""A record of oracleGeneral: 24 bytes, little-endian and packed; `next` numbers the object's next look-up."""

MOST_LOOK_UPS = 2**40
"""Of a trace, by which records are told from other bytes."""

_HEAD = 65_520


def is_likely(head: bytes) -> bool:
    """Tell if bytes can be records: each one's next look-up is later, or none."""
    found = np.frombuffer(head, RECORD, len(head) // RECORD.itemsize)
    after = found["next"]
    last = (after == -1) | (after == np.iinfo(np.int64).max)
    return bool(len(found) and (last | ((after > np.arange(len(found))) & (after < MOST_LOOK_UPS))).all())


def read(path: Path, images: ImageModel | None = None) -> tuple[pd.DataFrame, list[BadLine]]:  # noqa: ARG001
    """Read an oracleGeneral file; a last record that is torn is a bad line, numbered as a record from 1."""
    with open_trace(path) as file:
        content = file.read()
    if content and not is_likely(content[:_HEAD]):
        raise TraceError(
            f"{path}: not oracleGeneral: records of 24 bytes, each with a next look-up that is later, or -1"
        )
    count, torn = divmod(len(content), RECORD.itemsize)
    found = np.frombuffer(content, RECORD, count)
    trace = pd.DataFrame(
        {
            "time": found["time"].astype(np.float64),
            "key": pd.Series(found["object"]).astype(str),
            "nbytes": found["size"].astype(np.int64),
        }
    ).reindex(columns=[*COLUMNS])
    bad = [BadLine(str(path), count + 1, f"{torn} bytes; a record has {RECORD.itemsize}")] if torn else []
    return trace, bad
