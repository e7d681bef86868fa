"""Samples of a trace: the events of some of its images, chosen by a hash while it is read (SHARDS)."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from visioncache.events import LOOKUPS, EventLog
from visioncache.study.trace.errors import BadLine, TraceError
from visioncache.study.trace.files import open_trace, paths
from visioncache.study.trace.formats import OURS, format_of
from visioncache.study.trace.lines import frame_of, in_order, parse
from visioncache.study.trace.lookups import requests
from visioncache.study.trace.traces import TraceLike, load_trace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

CHUNK = 100_000
"""Lines that are looked at together."""

_KEY = re.compile(rb'"key":\s*"((?:[^"\\]|\\.)*)"')
_LOOKUP = re.compile(rb'"outcome":\s*"(?:%s)"' % b"|".join(kind.encode() for kind in LOOKUPS))


class Sample(NamedTuple):
    """Look-ups of a share of a trace's images."""

    asked: pd.DataFrame
    """As `requests` gives them."""
    place: NDArray[np.float64]
    """For every look-up, where its image's hash lies between 0 and the rate."""
    lookups: float
    """Of the whole trace, whose others were counted and not kept."""


def sample_of(source: TraceLike, rate: float, seed: int = 0) -> Sample:
    """Keep the events of the images with a hash below `rate`, and count the other look-ups.

    Lines of files are hashed before they are parsed, so most of the work is left out with the line.

    Raises:
        TraceError: a line that is kept is no event, or no look-up is kept.
        OSError: a file can't be read.
    """
    if isinstance(source, (pd.DataFrame, EventLog)) or {*map(format_of, paths(source))} != {OURS}:
        trace = load_trace(source)
        if "key" not in trace:
            raise TraceError("a trace has columns 'key' and 'nbytes'; there is no key")
        outcome = trace["outcome"] if "outcome" in trace else pd.Series(None, trace.index, dtype=object)
        lookups = int((outcome.isna() | outcome.isin(LOOKUPS)).sum())
        kept = trace[_places(trace["key"].astype(str).to_numpy(object), seed) < rate]
    else:
        kept, lookups = _from_files(paths(source), rate, seed)
    asked = requests(kept)
    if asked.empty:
        raise TraceError(f"too few keys for a sample of {rate:g}; take a larger one, or none")
    return Sample(
        asked,
        _places(asked["key"].astype(str).to_numpy(object), seed),
        lookups - asked.attrs["unsized"] / rate,
    )


def _from_files(files: list[Path], rate: float, seed: int) -> tuple[pd.DataFrame, int]:
    rows, lookups = [], 0
    for path in files:
        for first, lines in _chunks(path):
            lookups += sum(_LOOKUP.search(line) is not None for line in lines)
            keys = [_key_of(line) for line in lines]
            chosen = _places(np.array(keys, object), seed) < rate
            for at in np.flatnonzero(chosen).tolist():
                try:
                    rows.append(parse(lines[at]))
                except ValueError as error:
                    raise TraceError(str(BadLine(str(path), first + at, str(error)))) from None
    return in_order(frame_of(rows)), lookups


def _chunks(path: Path) -> Iterator[tuple[int, list[bytes]]]:
    with open_trace(path) as file:
        lines: list[bytes] = []
        first = 1
        for number, line in enumerate(file, 1):
            lines.append(line)
            if len(lines) == CHUNK:
                yield first, lines
                first, lines = number + 1, []
        yield first, lines


def _key_of(line: bytes) -> str:
    found = _KEY.search(line)
    if found is None:
        return ""
    text = found[1]
    return str(json.loads(b'"%s"' % text)) if b"\\" in text else text.decode("utf-8", "replace")


def _places(keys: NDArray[np.object_], seed: int) -> NDArray[np.float64]:
    """Hash keys to numbers from 0 to 1, by a seed; the same key always to the same."""
    hashed = pd.util.hash_array(keys, hash_key=f"{seed:016x}"[-16:], categorize=False)
    return hashed.astype(np.float64) / 2.0**64
