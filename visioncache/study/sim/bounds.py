"""Bounds: which bound of a cache made it miss, and what to raise it to, by replaying its own past."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from visioncache.sizes import count, format_size
from visioncache.study.sim.distances import NEVER_BEFORE, lru_distances
from visioncache.study.sim.mrc import asked_in
from visioncache.study.sim.order import is_one_by_one
from visioncache.study.sim.recency import Recency
from visioncache.study.trace.lookups import requests

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from visioncache.study.sim.outcome import Asked
    from visioncache.study.trace.traces import TraceLike

_ROUND = 10
"""Bytes are advised in whole units from so many of them."""
_UNITS = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))


@dataclass(frozen=True)
class Advice:
    """The bounds to raise, so that the same look-ups would have hit more; None for one that may stay."""

    max_size: int | None
    max_bytes: int | None
    hit_ratio: float
    """Share of hits with the advised bounds."""
    hit_ratio_now: float
    """Share of hits with the present bounds."""
    target: float
    ceiling: float
    """The hit ratio of a cache without bounds: first looks always miss."""
    seconds_saved: float
    """Encode seconds of the advised bounds' hits, less those of the present bounds'."""

    @property
    def reached(self) -> bool:
        """Tell if the advised bounds reach the target."""
        return self.hit_ratio >= self.target

    @property
    def command(self) -> str:
        """The magic that follows the advice; "" where there is nothing to raise."""
        entries = "" if self.max_size is None else f" --max-size {self.max_size}"
        size = "" if self.max_bytes is None else f" --max-bytes {_exact(self.max_bytes)}"
        return f"%vcache resize{entries}{size}" if entries or size else ""

    def __str__(self) -> str:
        rest = "" if self.reached else "; the rest were first looks, which always miss"
        if not self.command:
            return f"large enough: if these look-ups came again, {self.hit_ratio:.0%} would hit{rest}"
        raised = [
            *([] if self.max_size is None else [count(self.max_size, "entry", "entries")]),
            *([] if self.max_bytes is None else [format_size(self.max_bytes)]),
        ]
        saved = f", which saves {self.seconds_saved:.2g} s more" if self.seconds_saved else ""
        return (
            f"if these look-ups came again, {self.hit_ratio:.0%} would hit with {' and '.join(raised)}, "
            f"not {self.hit_ratio_now:.0%} as with the present limits{saved}: {self.command}{rest}"
        )

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        printer.text(str(self))


def advise(
    trace: TraceLike, max_size: int | None = None, max_bytes: int | None = None, target: float = 0.9
) -> Advice:
    """Find which bound of an LRU cache keeps a trace's look-ups from hitting, and what to raise it to.

    Raises the number of entries alone where that reaches the target, else the bytes alone, else both.
    Where first looks keep any cache below the target, aims at hitting all the others. Nothing is pinned.

    Args:
        trace: a trace, or `cache.events`.
        max_size: entries that the cache may hold now; None for no bound.
        max_bytes: bytes that it may hold now; None for no bound.
        target: the hit ratio to reach, above 0 and at most 1.

    Raises:
        TraceError: the trace can't be read or has no look-ups.
        ValueError: a target that is no such share.
    """
    if not isinstance(target, (int, float)) or not 0 < target <= 1:
        raise ValueError(f"target={target!r}: a hit ratio is above 0 and at most 1")
    asked = asked_in(requests(trace), "bytes")
    past = _Past(asked) if is_one_by_one(asked.requests) else _Requests(asked)
    again = past.hits(np.inf, np.inf)
    wanted = min(math.ceil(target * len(again)), int(again.sum()))
    entries = np.inf if max_size is None else max_size
    size = np.inf if max_bytes is None else max_bytes
    now = past.hits(entries, size)
    best: tuple[int | None, int | None] = None, None
    if now.sum() < wanted:
        if past.hits(np.inf, size).sum() >= wanted:
            best = past.fewest_entries(size, wanted, int(entries)), None
        elif past.hits(entries, np.inf).sum() >= wanted:
            best = None, past.fewest_bytes(entries, wanted, int(size))
        else:
            least = past.fewest_bytes(np.inf, wanted, int(size))
            fewest = past.fewest_entries(least, wanted, 0)
            best = (fewest if fewest > entries else None), least  # fewer bytes may keep large values out
    best = best[0], past.rounded(best[1], entries if best[0] is None else best[0], wanted)
    hit = past.hits(entries if best[0] is None else best[0], size if best[1] is None else best[1])
    more = float(asked.seconds[hit].sum() - asked.seconds[now].sum())
    return Advice(
        *best,
        hit_ratio=float(hit.mean()),
        hit_ratio_now=float(now.mean()),
        target=target,
        ceiling=float(again.mean()),
        seconds_saved=max(0.0, more),
    )


class _Past:
    """Look-ups to be replayed under any two bounds.

    One hits when what was used since its last use kept both bounds (LRU is a stack: Mattson et al.,
    1970). A value larger than the bytes allowed is never stored, so it pushes nothing out.
    """

    def __init__(self, asked: Asked) -> None:
        self.keys, self.sizes = asked.keys, asked.sizes
        self._distinct = np.unique(asked.sizes)

    def distances(self, size: float) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Which look-ups are of values that fit, and the entries and the bytes that each needs to hit."""
        stored = np.flatnonzero(self.sizes <= size)
        keys, sizes = self.keys[stored], self.sizes[stored]
        return stored, lru_distances(keys, np.ones(len(keys), np.int64)), lru_distances(keys, sizes)

    def hits(self, entries: float, size: float) -> NDArray[np.bool_]:
        """Which look-ups hit under two bounds."""
        stored, in_entries, in_bytes = self.distances(size)
        found = np.zeros(len(self.keys), np.bool_)
        most = NEVER_BEFORE - 1  # a first look needs more than any cache has
        found[stored] = (in_entries <= min(entries, most)) & (in_bytes <= min(size, most))
        return found

    def fewest_entries(self, size: float, wanted: int, _too_few: int) -> int:
        """The smallest number of entries with which so many look-ups hit; enough bytes are given."""
        _, in_entries, in_bytes = self.distances(size)
        able = np.sort(in_entries[in_bytes <= size])
        return int(able[wanted - 1])

    def fewest_bytes(self, entries: float, wanted: int, least: int) -> int:
        """The smallest number of bytes, of at least so many, with which so many look-ups hit.

        Enough entries are given. Fewer bytes may hit more often, for they keep a large value out; but a
        bound is to be raised.
        """
        for largest, following in zip(self._distinct, [*self._distinct[1:], np.inf], strict=True):
            _, in_entries, in_bytes = self.distances(largest)
            able = np.sort(in_bytes[in_entries <= entries])
            if len(able) >= wanted and (found := max(int(able[wanted - 1]), int(largest), least)) < following:
                return found
        raise LookupError(f"no number of bytes gives {wanted} hits with {entries} entries")

    def rounded(self, size: int | None, entries: float, wanted: int) -> int | None:
        """Round bytes up, unless that hits less often (it may store a value that pushes others out)."""
        for _, scale in _UNITS:
            if size is not None and size >= _ROUND * scale:
                up = -(-size // scale) * scale
                return up if self.hits(entries, up).sum() >= wanted else size
        return size


class _Requests(_Past):
    """Look-ups of requests that have several, to be replayed under any two bounds."""

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked)
        self._recency = Recency(asked)

    def hits(self, entries: float, size: float) -> NDArray[np.bool_]:
        """Which look-ups hit under two bounds."""
        return self._recency.run(size, entries).outcome.hits

    def fewest_entries(self, size: float, wanted: int, too_few: int) -> int:
        """A number of entries with which so many look-ups hit; one less is too few."""
        return self._recency.fewest_entries(wanted, too_few, len(self.keys), size)

    def fewest_bytes(self, entries: float, wanted: int, least: int) -> int:
        """A number of bytes with which so many look-ups hit; one less, and `least`, is too few."""
        return self._recency.smallest_size(wanted, least, max(int(self.sizes.sum()), 1), entries)


def _exact(size: int) -> str:
    """Write bytes as `resize` reads them, to the last one: "30MiB", "31457281"."""
    unit, scale = next(((unit, scale) for unit, scale in _UNITS if size % scale == 0), ("", 1))
    return f"{size // scale}{unit}"
