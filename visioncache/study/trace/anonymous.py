"""Anonymous traces, for publication: who is who stays, everything that could name it goes."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from blake3 import blake3

from visioncache.events import STAGE_TAGS
from visioncache.study.trace.lines import COLUMNS
from visioncache.study.trace.traces import TraceLike, load_trace

if TYPE_CHECKING:
    from numpy.typing import NDArray


def anonymise(source: TraceLike, *, secret: bytes | None = None, digits: int | None = None) -> pd.DataFrame:
    """Replace every name in a trace by a number, and every key by a keyed hash.

    Keys are hashed so that nobody can look for an image that they have. Sessions become s1, s2, ...;
    turns and requests become 1, 2, ..., turns within their session, all in order of appearance; events
    are numbered anew and time starts at zero. Other columns are dropped. Sizes, tokens and seconds stay
    as they are unless `digits` rounds them: an unusual size can give an image away.

    Args:
        source: the trace.
        secret: 32 bytes that make keys agree between traces; by default fresh, kept nowhere.
        digits: significant digits that sizes, tokens and seconds are rounded to; None for all.

    Raises:
        ValueError: a secret that is not of 32 bytes, or digits below 1.
        TraceError: the trace can't be read.
    """
    if secret is not None and len(secret) != blake3.key_size:
        raise ValueError(f"secret has {len(secret)} bytes; a key of blake3 has {blake3.key_size}")
    if digits is not None and digits < 1:
        raise ValueError(f"digits={digits!r}: 1 or more, or None")
    trace = load_trace(source).reindex(columns=[*COLUMNS]).reset_index(drop=True)
    secret = secrets.token_bytes(32) if secret is None else secret
    hashed = {
        key: blake3(str(key).encode("utf-8", "surrogatepass"), key=secret).hexdigest(16)
        for key in trace["key"].dropna().unique()
    }
    sessions = _numbered(trace["session"])
    numbers = {
        "key": trace["key"].map(hashed),
        "session": sessions.map("s{:.0f}".format, na_action="ignore"),
        "turn": trace.groupby(sessions, dropna=False)["turn"].transform(_numbered),
        "request": _numbered(trace["request"]),
        "seq": trace["seq"].where(trace["seq"].isna(), np.arange(1, len(trace) + 1)),
        "time": trace["time"] - trace["time"].min(),
    }
    if digits is not None:
        for name in ("nbytes", "tokens", "seconds", *STAGE_TAGS):
            numbers[name] = _rounded(pd.to_numeric(trace[name]).to_numpy(np.float64), digits)
    return trace.assign(**numbers)


def _numbered(names: pd.Series[Any]) -> pd.Series[float]:
    """Number names from 1, in order of appearance; NaN where there is none."""
    codes, _ = pd.factorize(names)
    return pd.Series(codes, names.index).add(1.0).where(codes >= 0)


def _rounded(values: NDArray[np.float64], digits: int) -> NDArray[np.float64]:
    size = np.where((values != 0) & np.isfinite(values), np.abs(values), 1.0)
    unit = 10.0 ** (np.floor(np.log10(size)) + 1 - digits)
    rounded: NDArray[np.float64] = np.round(np.round(values / unit) * unit, 12)
    return rounded
