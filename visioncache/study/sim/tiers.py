"""Tiers behind one another, and what each serves: memory, disk, server, prefixes, then the encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from visioncache.study.sim.granularity import request_of
from visioncache.study.sim.mrc import arrays_of, asked_in
from visioncache.study.sim.order import order_of
from visioncache.study.sim.prefixes import Prefixes, Prompts
from visioncache.study.sim.tier import Held, Tier
from visioncache.study.trace.lookups import requests
from visioncache.study.trace.provenance import about

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from visioncache.study.trace.traces import TraceLike


Ahead = dict[str, tuple[int, int, float]]
"""Of "warm", "prefetch" and "prefill": how many, their bytes, their seconds."""


def simulate_tiers(
    trace: TraceLike,
    tiers: Sequence[Tier],
    *,
    prefixes: Prefixes | None = None,
    warm: Iterable[str] = (),
    prefetch: int = 0,
) -> pd.DataFrame:
    """Simulate tiers behind one another; a row a place that look-ups were served from.

    As `VisionFeatureCache` with a store does: a look-up asks one tier after the other; what a lower one has
    is lifted into those above; a miss is encoded and written to all, after all look-ups of its request, but
    a value that is too large for the first is stored nowhere. An eviction is one tier's alone. Columns:
    `place` (a tier, "encode", with `prefixes` also "prefix": images that nobody had to look up), `lookups`,
    `bytes`, `seconds`
    (spent loading or encoding, prefilling for "prefill"), `evictions`. Rows "warm" and "prefetch" are loads
    and encodes before anybody asked. Entries are of images; `by_request` and `by_tile` give traces of others.

    Args:
        trace: a trace; with times where a tier has a time to live.
        tiers: the fastest first.
        prefixes: keys and values of prompts, kept beside features; needs requests, or sessions and turns.
        warm: keys that are encoded before the trace begins.
        prefetch: images lifted into the first tier for each look-up, after its request: so many that were
            first seen after it.

    Raises:
        TraceError: the trace can't be read, or has no look-ups.
        ValueError: no tier, or a bound that is no size.
    """
    asked = requests(trace)
    served = served_from(asked, tiers, prefixes=prefixes, warm=warm, prefetch=prefetch)
    sizes, seconds = asked["nbytes"].to_numpy(np.int64), asked["seconds"].to_numpy(np.float64)
    rows = []
    for number, tier in enumerate(tiers):
        here = served.place == number
        spent = sum(tier.load_s(size) for size in sizes[here].tolist())
        rows.append((tier.name, int(here.sum()), int(sizes[here].sum()), spent, served.evictions[number]))
    encoded, covered = served.place == len(tiers), served.place > len(tiers)
    rows.append(("encode", int(encoded.sum()), int(sizes[encoded].sum()), float(seconds[encoded].sum()), 0))
    if prefixes is not None:
        rows.append(("prefix", int(covered.sum()), int(sizes[covered].sum()), 0.0, 0))
    for name, (count, moved, spent) in served.ahead.items():
        rows.append((name, count, moved, spent, 0))
    table = pd.DataFrame(rows, columns=["place", "lookups", "bytes", "seconds", "evictions"])
    options = {
        "tiers": [repr(tier) for tier in tiers],
        "prefixes": repr(prefixes),
        "warm": served.ahead.get("warm", (0,))[0],
        "prefetch": prefetch,
    }
    table.attrs.update(about(asked, **options))
    return table


@dataclass
class Served:
    """Where each look-up was served from."""

    place: NDArray[np.int64]
    """The tier's number; one more is "encode", two more "prefix"."""
    evictions: list[int]
    """Of each tier, for want of room."""
    ahead: Ahead
    """Work that is no look-up's."""


def served_from(
    asked: pd.DataFrame,
    tiers: Sequence[Tier],
    *,
    prefixes: Prefixes | None = None,
    warm: Iterable[str] = (),
    prefetch: int = 0,
) -> Served:
    """Tell for every look-up which tier served it; see `simulate_tiers`."""
    if not tiers:
        raise ValueError("tiers=[]: at least one")
    order = order_of(asked_in(asked, "bytes"))
    simulation = _Simulation(asked, order.repeats.tolist(), tiers, prefixes, warm, prefetch)
    for step in order.steps.tolist():
        if step >= 0:
            simulation.look_up(step)
        else:
            simulation.store(~step)
    return simulation.served


class _Simulation:
    """Tiers behind one another, while a trace is replayed through them."""

    def __init__(
        self,
        asked: pd.DataFrame,
        repeats: list[bool],
        tiers: Sequence[Tier],
        prefixes: Prefixes | None,
        warm: Iterable[str],
        prefetch: int,
    ) -> None:
        self._image, self._sizes = (values.tolist() for values in arrays_of(asked, "bytes"))
        self._times = asked["time"].fillna(0.0).tolist()
        self._repeats = repeats
        self._size_of = dict(zip(self._image, self._sizes, strict=True))
        self._prefetch = prefetch
        self._now = self._times[0]
        self._uses: dict[int, int] = {}
        self._held = [Held(tier) for tier in tiers]
        self._ahead = _warmed(asked, self._held, warm)
        self._prompts = (
            None if prefixes is None else Prompts(prefixes, asked, request_of(asked), self._held[0])
        )
        self._place = [0] * len(asked)

    def look_up(self, i: int) -> None:
        """Ask one tier after the other; what a lower one has is lifted at once."""
        held, key, self._now = self._held, self._image[i], self._times[i]
        for tier in held:
            tier.expire(self._now)
        self._uses[key] = self._uses.get(key, 0) + 1
        if self._prompts is not None and self._prompts.covers(i, self._now):
            self._place[i] = len(held) + 1
            return
        found = _find(held, key)
        if found < len(held):
            _lift(held[:found], key, self._sizes[i], self._now, self._uses)
        elif self._repeats[i]:  # its request encodes it anyway
            found = 0
        self._place[i] = found

    def store(self, i: int) -> None:
        """Store what a look-up missed and nobody holds by now; then lift what may be asked for next."""
        held, key, place = self._held, self._image[i], self._place[i]
        if place > len(held):
            return
        if place == len(held) == _find(held, key, touch=False):
            _store(held, key, self._sizes[i], self._now, self._uses)
        if self._prompts is not None:
            self._prompts.add(i, self._now)
        for following in range(key + 1, key + 1 + self._prefetch):
            spent = _fetch(held, following, self._size_of.get(following, 0), self._now, self._uses)
            if spent is not None:
                _count(self._ahead, "prefetch", self._size_of[following], spent)

    @property
    def served(self) -> Served:
        """Where each look-up was served from."""
        ahead = self._ahead
        if self._prompts is not None:
            ahead = {**ahead, "prefill": self._prompts.prefilled}
        return Served(np.array(self._place, np.int64), [tier.evictions for tier in self._held], ahead)


def _warmed(asked: pd.DataFrame, held: Sequence[Held], warm: Iterable[str]) -> Ahead:
    """Encode and store images before the trace begins; counts them."""
    ahead: Ahead = {}
    rows = {row["key"]: row for row in asked.drop_duplicates("key").to_dict("records")}
    begins = float(asked["time"].fillna(0.0).iloc[0])
    for row in (rows[key] for key in dict.fromkeys(warm) if key in rows):
        _store(held, row["image"], row["nbytes"], begins, None)
        _count(ahead, "warm", row["nbytes"], row["seconds"])
    return ahead


def _fetch(held: Sequence[Held], key: int, size: int, now: float, uses: dict[int, int]) -> float | None:
    """Lift a value that only a lower tier has into the first; gives its seconds, None where there is none."""
    at = _find(held, key, touch=False)
    if not 0 < at < len(held):
        return None
    _find(held, key)
    _lift(held[:1], key, size, now, uses)
    return held[at].tier.load_s(size)


def _count(ahead: Ahead, name: str, size: int, seconds: float) -> None:
    count, nbytes, spent = ahead.get(name, (0, 0, 0.0))
    ahead[name] = count + 1, nbytes + size, spent + seconds


def _find(held: Sequence[Held], key: int, *, touch: bool = True) -> int:
    """Find the first tier that holds a value, and refresh it there; their number where none does."""
    for number, tier in enumerate(held):
        if tier.touch(key) if touch else key in tier.sizes:
            return number
    return len(held)


def _lift(above: Sequence[Held], key: int, size: int, now: float, uses: dict[int, int] | None) -> None:
    """Store a value into tiers that it is not in, where they admit it and it fits."""
    for held in above:
        tier = held.tier
        often = uses is None or uses.get(key, 0) >= tier.admit_after
        if often and held.fits(size) and (tier.admit_bytes is None or size <= tier.admit_bytes):
            held.put(key, size, now)


def _store(held: Sequence[Held], key: int, size: int, now: float, uses: dict[int, int] | None) -> None:
    """Store a value that was encoded; nowhere if the first tier could never hold it."""
    if held[0].fits(size):
        _lift(held, key, size, now, uses)
