"""Reading a trace for a command: lines that are left out are told, and a file that is none is refused."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from visioncache.sizes import count
from visioncache.study.trace.errors import TraceError
from visioncache.study.trace.traces import read_trace

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import pandas as pd

SHOWN = 10
"""Bad lines that are told word for word."""


def read_told(
    files: Sequence[str],
    format: str | None = None,  # noqa: A002  # as `read_trace` calls it
    *,
    strict: bool = False,
) -> pd.DataFrame:
    """Read files, and tell on stderr the lines that were left out.

    Args:
        files: that follow one another.
        format: theirs, where it is not to be recognised.
        strict: refuse bad lines instead.

    Raises:
        TraceError: a file is no trace, no line is left, or there is a bad line and `strict`.
        OSError: a file can't be read.
    """
    trace, bad = read_trace(files, format=format)
    if bad and (strict or trace.empty):
        more = f" (and {count(len(bad) - 1, 'more bad line')})" if len(bad) > 1 else ""
        raise TraceError(f"{bad[0]}{more}{'; no line is left' if trace.empty else ''}")
    if trace.empty:
        raise TraceError(f"{', '.join(files)}: no line holds a look-up")
    for line in bad[:SHOWN]:
        sys.stderr.write(f"{line}\n")
    if bad:
        sys.stderr.write(f"{count(len(bad), 'bad line')} left out\n")
    return trace


def check_writable(path: Path, read: Iterable[str | Path] = ()) -> None:
    """Raise now, rather than when all is computed, for a file that can't be written, or that is read.

    Raises:
        ValueError: it is one of the files to read.
        OSError: it can't be written.
    """
    new = not path.exists()
    if not new and any(path.samefile(other) for other in read):
        raise ValueError(f"{path}: this file is read; name another to write")
    path.open("ab").close()
    if new:
        path.unlink()
