"""libCacheSim's binary format, oracleGeneral: its record, and reading it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from visioncache.study.trace.errors import BadLine
from visioncache.study.trace.files import open_trace
from visioncache.study.trace.lines import COLUMNS

if TYPE_CHECKING:
    from pathlib import Path

    from visioncache.study.trace.images import ImageModel

RECORD = np.dtype([("time", "<u4"), ("object", "<u8"), ("size", "<u4"), ("next", "<i8")])
"""A record of oracleGeneral: 24 bytes, little-endian and packed; `next` numbers the object's next look-up."""


def read(path: Path, images: ImageModel | None = None) -> tuple[pd.DataFrame, list[BadLine]]:  # noqa: ARG001
    """Read an oracleGeneral file; a last record that is torn is a bad line, numbered as a record from 1."""
    with open_trace(path) as file:
        content = file.read()
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
