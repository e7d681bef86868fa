"""Tables that others publish, as CSV or parquet, read into traces: a row a look-up, or a row a request."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
import warnings
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from visioncache.events import STAGE_TAGS
from visioncache.study.trace.errors import BadLine, TraceError
from visioncache.study.trace.files import open_trace, pyarrow
from visioncache.study.trace.images import ImageModel
from visioncache.study.trace.lines import COLUMNS, MOST_BYTES, MOST_TIME, OUTCOMES

if TYPE_CHECKING:
    from pathlib import Path

NAMES = {
    "key": ("key", "obj_id", "object_id", "object", "id", "mm_hash", "image", "hash"),
    "nbytes": ("nbytes", "bytes", "obj_size", "object_size", "size"),
    "time": ("time", "timestamp", "clock_time", "ts"),
    "session": ("session", "session_id", "user", "client", "tenant"),
    "request": ("request", "request_id"),
    **{name: (name,) for name in ("turn", "tokens", "seconds", "outcome", "seq", *STAGE_TAGS)},
}
"""Columns of a trace, and the names in a table's head that mean each; upper case means the same."""

_NUMBERS = ("nbytes", "tokens", "seconds", "seq", *STAGE_TAGS)
_WHOLE = ("nbytes", "tokens", "seq")
_SKIPPED = re.compile(r"Skipping line (\d+): (.+)")

Read = tuple[pd.DataFrame, list[BadLine]]
"""A trace, and the rows that could not be read."""


def lookups(path: Path, images: ImageModel | None = None) -> Read:
    """Read a CSV file with a head that names at least a key and a size, as `NAMES` spells them."""
    table, at, bad = _csv(path)
    return _lookups(path, table, at, bad, images)


def libcachesim(path: Path, images: ImageModel | None = None) -> Read:
    """Read libCacheSim's CSV: time, object and size first, with a head or without."""
    table, at, bad = _csv(path, ["time", "key", "nbytes"])
    return _lookups(path, table, at, bad, images)


def parquet(path: Path, images: ImageModel | None = None) -> Read:
    """Read a parquet file with columns as `lookups` takes them; row numbers count from 1."""
    pyarrow()
    try:
        table = pd.read_parquet(path)
    except (ValueError, OSError) as error:
        raise TraceError(f"{path}: not a parquet file: {error}") from None
    return _lookups(path, table, np.arange(1, len(table) + 1), [], images)


def azure_lmm(path: Path, images: ImageModel | None = None) -> Read:
    """Read Azure's LMM inference trace of 2025: TIMESTAMP, NumImages, ContextTokens, GeneratedTokens.

    It doesn't say which images, so each is one that was never seen before, of `images`' tokens.
    """
    table, at, bad = _csv(path)
    counts, wrong = _number(_column(path, table, "NumImages"))
    time, untimed = _seconds(_column(path, table, "TIMESTAMP"))
    wrong |= np.isnan(counts) | (counts != counts.round()) | untimed
    bad += _bad(path, at, wrong, "a time, then a whole number of images from 0")
    shown = np.where(wrong, 0, counts).astype(np.int64)
    return _unseen(time, np.arange(len(table)), shown, images or ImageModel(tokens=1564)), bad


def servegen(path: Path, images: ImageModel | None = None) -> Read:
    """Read a workload that ServeGen wrote as CSV: request_id, timestamp, ..., image_tokens (a list).

    It doesn't say which images, so each is one that was never seen before.
    """
    table, at, bad = _csv(path)
    time, wrong = _seconds(_column(path, table, "timestamp"))
    lists = [_counts(text) for text in _column(path, table, "image_tokens")]
    wrong |= np.array([found is None for found in lists], bool)
    bad += _bad(path, at, wrong, "a time, and image_tokens like [256, 1024]")
    shown = [[] if bad_row else found or [] for found, bad_row in zip(lists, wrong, strict=True)]
    counts = np.array([len(found) for found in shown], np.int64)
    tokens = np.array([count for found in shown for count in found], np.int64)
    request = _column(path, table, "request_id").to_numpy(object)
    return _unseen(time, request, counts, images or ImageModel(), tokens), bad


def column_of(names: list[str]) -> dict[str, str]:
    """Find which names of a table's head are which columns of a trace."""
    plain = {_plain(name): name for name in reversed(names)}
    return {
        column: plain[known[0]]
        for column, spelt in NAMES.items()
        if (known := [name for name in spelt if name in plain])
    }


def _plain(name: str) -> str:
    """Give a column's name as `NAMES` spells it, without the number that pandas adds: "Size.1" is "size"."""
    return re.sub(r"\.\d+$", "", name).strip().lstrip("#").strip().lower()


def _csv(path: Path, names: list[str] | None = None) -> tuple[pd.DataFrame, Any, list[BadLine]]:
    """Read a CSV file as text: the table, each row's line number, and lines with too many cells.

    With `names` the columns have them, in order, and a head is left out if the first cell is no number.
    """
    with open_trace(path) as file:
        text = file.read().removeprefix(codecs.BOM_UTF8)
    first = text.split(b"\n", 1)[0].decode("utf-8", "replace")
    delimiter = delimiter_of(first)
    headed = names is None or not is_numeric(first.split(delimiter)[0])
    wide = len(next(csv.reader([first], delimiter=delimiter), []))
    labels = None if names is None else [*names, *(f"column {i}" for i in range(len(names), wide))]
    if labels is not None and wide < len(names or []):
        raise TraceError(f"{path}:1: {wide} columns; time, object and size are three")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", pd.errors.ParserWarning)
        try:
            table = pd.read_csv(
                io.BytesIO(text), sep=delimiter, dtype=str, keep_default_na=False, na_values=[""],
                header=0 if headed else None, names=labels, on_bad_lines="warn", skip_blank_lines=False,
                index_col=False, encoding_errors="replace",
            )  # fmt: skip
        except pd.errors.EmptyDataError:
            raise TraceError(f"{path}: the file is empty") from None
        except pd.errors.ParserError as error:
            raise TraceError(f"{path}: {error}") from None
    skipped = {int(found[1]): found[2] for w in said for found in _SKIPPED.finditer(str(w.message))}
    bad = [BadLine(str(path), number, reason) for number, reason in sorted(skipped.items())]
    lines = np.arange(1 + headed, len(table) + len(skipped) + 1 + headed)
    lines = lines[~np.isin(lines, list(skipped))]
    blank = table.isna().all(axis=1).to_numpy(bool)
    return table[~blank].reset_index(drop=True), lines[~blank], bad


def _lookups(path: Path, table: pd.DataFrame, at: Any, bad: list[BadLine], images: ImageModel | None) -> Read:
    """Make a trace of a table with a row a look-up."""
    known = column_of([str(name) for name in table.columns])
    _refuse_doubles(path, [str(name) for name in table.columns])
    if "key" not in known or not known.keys() & {"nbytes", "tokens"}:
        head = _names(table)
        raise TraceError(
            f"{path}: no column for a key ({', '.join(NAMES['key'])}) and a size "
            f"({', '.join(NAMES['nbytes'])}), or tokens; there are: {head}"
        )
    trace = pd.DataFrame({column: table[name] for column, name in known.items()}).reindex(columns=[*COLUMNS])
    for name in ("session", "request", "turn"):
        number = pd.to_numeric(trace[name], errors="coerce")
        trace[name] = number if name == "turn" and number.notna().all() else trace[name]
    model = images or ImageModel()
    wrong: dict[int, str] = dict.fromkeys(
        np.flatnonzero(trace["key"].isna()).tolist(), "a key is text, not nothing"
    )
    given = {name: trace[name].tolist() for name in known}
    for name in (name for name in _NUMBERS if name in known):
        trace[name], out = _number(trace[name])
        values = trace[name].to_numpy(np.float64)
        whole = name in _WHOLE
        most = MOST_BYTES // (model.bytes_per_token if name == "tokens" and "nbytes" not in known else 1)
        out |= (values > most) | (whole & (values != np.floor(values)) & ~np.isnan(values))
        if (name == "nbytes" and "outcome" not in known) or (name == "tokens" and "nbytes" not in known):
            out |= np.isnan(values)
        told = f"{known[name]!r} is a {'whole ' * whole}number from 0 to {_power(most)}"
        wrong |= {
            i: f"{told}, not {_shown(given[name][i])}" for i in np.flatnonzero(out).tolist() if i not in wrong
        }
    if "outcome" in known:
        out = ~(trace["outcome"].isin(OUTCOMES) | trace["outcome"].isna()).to_numpy(bool)
        told = f"there is no {known['outcome']!r}"
        wrong |= {
            i: f"{told} {_shown(given['outcome'][i])}" for i in np.flatnonzero(out).tolist() if i not in wrong
        }
    if "time" in known:
        time, out = _seconds(trace["time"])
        told = f"{known['time']!r} is a time"
        wrong |= {
            i: f"{told}, not {_shown(given['time'][i])}"
            for i in np.flatnonzero(out).tolist()
            if i not in wrong
        }
    else:
        time = np.arange(len(trace), dtype=np.float64)  # it counts look-ups
    trace["time"] = time
    kept = np.ones(len(trace), bool)
    kept[[*wrong]] = False
    trace = trace[kept].reset_index(drop=True)
    trace["key"] = trace["key"].astype(str)
    if "nbytes" not in known:
        tokens = trace["tokens"].to_numpy(np.int64)
        trace["nbytes"], trace["seconds"] = model.nbytes(tokens), model.seconds(tokens)
    bad = bad + [BadLine(str(path), int(at[i]), reason) for i, reason in wrong.items()]
    return trace, sorted(bad, key=lambda line: line.number)


def _refuse_doubles(path: Path, names: list[str]) -> None:
    """Raise a TraceError where two columns could be one of a trace's, and neither has its very name."""
    plain = [_plain(name) for name in names]
    for column, spelt in NAMES.items():
        found = [name for name, known in zip(names, plain, strict=True) if known in spelt]
        own = plain.count(column)
        if own > 1 or (own == 0 and len(found) > 1):
            raise TraceError(f"{path}: columns {', '.join(map(repr, found))} are each a {column}: keep one")


def _names(table: pd.DataFrame) -> str:
    """Name a table's columns, as far as a line has room."""
    return shorten(", ".join(map(str, table.columns)), 160, placeholder=" ...")


def _power(most: int) -> str:
    return f"2**{most.bit_length() - 1}" if most & (most - 1) == 0 else str(most)


def _shown(value: Any) -> str:
    return "nothing" if pd.isna(value) else repr(value)


def _unseen(time: Any, request: Any, counts: Any, model: ImageModel, tokens: Any = None) -> pd.DataFrame:
    """Make a trace of requests that tell how many images they have, and not which."""
    total = int(counts.sum())
    tokens = model.draw(total, np.random.default_rng(0)) if tokens is None else tokens
    return pd.DataFrame(
        {
            "time": np.repeat(time, counts),
            "request": np.repeat(request, counts),
            "key": [f"unseen {i}" for i in range(total)],
            "nbytes": model.nbytes(tokens),
            "tokens": tokens,
            "seconds": model.seconds(tokens),
        }
    ).reindex(columns=[*COLUMNS])


def _column(path: Path, table: pd.DataFrame, name: str) -> pd.Series[Any]:
    if name not in table:
        raise TraceError(f"{path}: no column {name!r}; there are: {_names(table)}")
    return table[name]


def _number(column: pd.Series[Any]) -> tuple[Any, Any]:
    """Give a column as numbers, and which cells are none, or negative, or infinite."""
    values = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan).copy()
    wrong = (np.isnan(values) & column.notna().to_numpy(bool)) | (values < 0) | np.isinf(values)
    return pd.Series(values, column.index), wrong


def _seconds(column: pd.Series[Any]) -> tuple[Any, Any]:
    """Give a column of times in seconds, from numbers or dates, and which cells are no time."""
    values = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
    if len(values) and np.isnan(values).all() and column.notna().any():
        when = pd.to_datetime(column, errors="coerce", format="ISO8601", utc=True)
        values = (when - when.min()).dt.total_seconds().to_numpy(np.float64)
    return values, ~(np.abs(values) <= MOST_TIME)


def _counts(text: Any) -> list[int] | None:
    """Read a list of whole numbers, "[256, 1024]"; None for anything else. An empty cell is no image."""
    if not isinstance(text, str):
        return []
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        return None
    fine = isinstance(found, list) and all(type(n) is int and 0 <= n < MOST_BYTES for n in found)
    return found if fine else None


def _bad(path: Path, at: Any, wrong: Any, told: str) -> list[BadLine]:
    return [BadLine(str(path), int(at[i]), f"a row is {told}") for i in np.flatnonzero(wrong)]


def delimiter_of(line: str) -> str:
    """Find what parts a line's cells: a comma, semicolon, tab or bar, else a space."""
    return next((mark for mark in ",;\t|" if mark in line), " ")


def is_numeric(cell: str) -> bool:
    """Tell if a cell is a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True
