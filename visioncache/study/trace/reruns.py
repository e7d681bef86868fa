"""Reruns: a recorded trace again through the real cache, event for event."""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING, Any

import pandas as pd

from visioncache.cache import VisionFeatureCache
from visioncache.events import LOOKUPS
from visioncache.study.trace.errors import TraceError
from visioncache.study.trace.lookups import requests
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
    that hit then and misses now is followed by its put, and the put of a miss that hits now is left out.
    A trace must begin with an empty cache (a log that has dropped its oldest events does not). Pins are
    not in a trace, and a `resize` is not repeated.

    Raises:
        TraceError: a line of the trace is no event, or no event tells an image's size.
    """
    recorded = load_trace(trace)
    asked = requests(recorded)
    costs = zip(asked["nbytes"].tolist(), asked["seconds"].tolist(), strict=True)
    sized = dict(zip(asked["key"].tolist(), costs, strict=True))
    stores = recorded["outcome"].isin(["put", "reject"]).any()
    now = 0.0
    events: list[Event] = []
    # What is stored is the number of bytes itself.
    cache = VisionFeatureCache(max_size, max_bytes, log=0, clock=lambda: now, sizer=index)
    cache.subscribe(events.append)
    already: set[str] = set()  # hit now, though they missed then
    for row in recorded.to_dict("records"):
        key, outcome, now = row["key"], row["outcome"], float(row["time"])
        with cache.tag(**{name: row[name] for name in _TAGS if not pd.isna(row[name])}):
            if outcome in LOOKUPS:
                if key not in sized:
                    raise TraceError(f"no event tells how many bytes {key} has; rerun needs every size")
                held = cache.get(key) is not None
                if held and outcome == "miss":
                    already.add(key)
                elif not held and (outcome != "miss" or not stores):
                    nbytes, seconds = sized[key]
                    cache.put(key, nbytes, seconds=seconds)
            elif outcome in {"put", "reject"}:
                if key in already:
                    already.discard(key)
                else:
                    cache.put(key, int(row["nbytes"]), seconds=float(row["seconds"]))
            elif outcome == "pop":
                cache.pop(key)
            elif outcome == "clear":
                cache.clear()
    return trace_frame(events).assign(key=[_recorded_key(event) for event in events])


def _recorded_key(event: Event) -> Any:
    return None if event.key is None else event.key.text.removeprefix("s:")
