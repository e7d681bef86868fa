"""Reruns: a recorded trace again through the real cache, event for event."""

from __future__ import annotations

from collections import defaultdict
from operator import index
from typing import TYPE_CHECKING, Any

import pandas as pd

from visioncache.cache import VisionFeatureCache
from visioncache.events import LOOKUPS
from visioncache.study.trace.batches import batch_numbers
from visioncache.study.trace.errors import TraceError
from visioncache.study.trace.lookups import STORED, requests
from visioncache.study.trace.traces import TraceLike, load_trace, trace_frame

if TYPE_CHECKING:
    from visioncache.events import Event

_TAGS = ("session", "turn", "tokens", "request")


def rerun(
    trace: TraceLike, *, max_size: int | None = None, max_bytes: float | str | None = None
) -> pd.DataFrame:
    """Replay a recorded run through a cache of these bounds: a row an event, as `load_trace` gives.

    Look-ups, puts and removals happen in the order recorded (of event numbers, whichever threads there
    were), so under the bounds of the recording the result is the recording. Under other bounds a look-up
    that hit then and misses now is followed by its put, after all look-ups of its request, and the put of a
    miss that hits now is left out. A trace must begin with an empty cache (a log that has dropped its oldest
    events does not). Pins are not in a trace, and a `resize` is not repeated.

    Raises:
        TraceError: a line of the trace is no event, or no event tells an image's size.
    """
    recorded = load_trace(trace).reset_index(drop=True)
    now = 0.0
    events: list[Event] = []
    # What is stored is the number of bytes itself.
    cache = VisionFeatureCache(max_size, max_bytes, log=0, clock=lambda: now, sizer=index)
    cache.subscribe(events.append)
    run = _Run(recorded, cache)
    for number, row in enumerate(recorded.to_dict("records")):
        key, outcome, now = row["key"], row["outcome"], float(row["time"])
        with cache.tag(**{name: row[name] for name in _TAGS if not pd.isna(row[name])}):
            if outcome in LOOKUPS:
                run.look_up(number, key, outcome)
            elif outcome in STORED:
                run.store(number, key, int(row["nbytes"]), float(row["seconds"]))
            elif outcome == "pop":
                cache.pop(key)
            elif outcome == "clear":
                cache.clear()
    return trace_frame(events).assign(key=[_recorded_key(event) for event in events])


class _Run:
    """A recorded run, again through another cache."""

    def __init__(self, recorded: pd.DataFrame, cache: VisionFeatureCache) -> None:
        asked = requests(recorded)
        costs = zip(asked["nbytes"].tolist(), asked["seconds"].tolist(), strict=True)
        self._sized = dict(zip(asked["key"].tolist(), costs, strict=True))
        self._cache = cache
        stored = recorded["outcome"].isin(STORED)
        self._has_puts = bool(stored.any())
        self._batch = batch_numbers(recorded, stored.to_numpy(bool)).tolist()
        looks = recorded.index[recorded["outcome"].isin(LOOKUPS)]
        self._last_of = {self._batch[number]: number for number in looks.tolist()}
        self._miss_of = _misses_of_puts(recorded)
        self._stored_then = {*self._miss_of.values()}
        self._already: set[str] = set()
        """Keys that hit now, though they missed then."""
        self._waiting: dict[int, dict[str, bool]] = defaultdict(dict)
        """By batch: what it missed, in order, and whether the recording has its put."""

    def look_up(self, number: int, key: str, outcome: str) -> None:
        """Look a key up; what misses now and hit then is stored after the batch's last look-up."""
        if key not in self._sized:
            raise TraceError(f"no event tells how many bytes {key} has; rerun needs every size")
        waiting = self._waiting[self._batch[number]]
        if outcome == "miss" or key not in waiting:  # an attached model does not look up again what it missed
            missed_now = self._cache.get(key) is None
            if not missed_now and outcome == "miss":
                self._already.add(key)
            elif missed_now and outcome == "store-hit":  # a store's values are lifted at once
                self._put(key)
            elif missed_now and (outcome == "hit" or not self._has_puts or number in self._stored_then):
                waiting[key] = number in self._stored_then
        if number == self._last_of[self._batch[number]]:
            self._go_on(waiting)

    def store(self, number: int, key: str, nbytes: int, seconds: float) -> None:
        """Store a value as the recording did, unless it is held now; then what waited for that."""
        if key in self._already:
            self._already.discard(key)
        else:
            self._cache.put(key, nbytes, seconds=seconds)
        if number in self._miss_of:
            waiting = self._waiting[self._batch[self._miss_of[number]]]
            waiting.pop(key, None)
            self._go_on(waiting)

    def _go_on(self, waiting: dict[str, bool]) -> None:
        """Store what waits, up to what the recording stores itself."""
        while waiting and not waiting[key := next(iter(waiting))]:
            del waiting[key]
            self._put(key)

    def _put(self, key: str) -> None:
        nbytes, seconds = self._sized[key]
        self._cache.put(key, nbytes, seconds=seconds)


def _misses_of_puts(recorded: pd.DataFrame) -> dict[int, int]:
    """Find the rows of the misses that puts followed, by the puts' rows."""
    missed: dict[str, int] = {}
    found = {}
    for number, (key, outcome) in enumerate(zip(recorded["key"], recorded["outcome"], strict=True)):
        if outcome == "miss":
            missed[key] = number
        elif outcome in STORED and key in missed:
            found[number] = missed.pop(key)
    return found


def _recorded_key(event: Event) -> Any:
    return None if event.key is None else event.key.text.removeprefix("s:")
