"""Frames: what a cache holds and what happened in it, as DataFrames for a notebook."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

    from visioncache.cache import VisionFeatureCache
    from visioncache.records import Entry


def entries_frame(cache: VisionFeatureCache, entries: Iterable[Entry] | None = None) -> pd.DataFrame:
    """List what a cache holds, or some of it, a row an entry; all of it the most recently used first.

    Columns: label, key (of the image, whatever model it was encoded by), nbytes, shape, dtype, hits,
    idle_s, age_s, cost_s (seconds), pinned.
    """
    import pandas as pd

    now = cache.now()
    rows = [
        (
            *(entry.name, entry.key.unscoped.text, entry.nbytes, entry.shape, entry.dtype, entry.hits),
            *(now - entry.last_used, now - entry.created, entry.seconds, entry.pinned),
        )
        for entry in (cache.entries()[::-1] if entries is None else entries)
    ]
    names = ["label", "key", "nbytes", "shape", "dtype", "hits", "idle_s", "age_s", "cost_s", "pinned"]
    return pd.DataFrame(rows, columns=names)


def events_frame(cache: VisionFeatureCache) -> pd.DataFrame:
    """List what happened in a cache, a row an event, oldest first.

    Columns: time (of day, local), kind, label (a miss has that of its image's other events), nbytes,
    seconds, session, turn, key (of the image, whatever model it was for), and other tags.
    """
    import pandas as pd

    from visioncache.keys import Key

    frame = cache.events.to_frame()
    zone = datetime.now(UTC).astimezone().tzinfo
    started = datetime.now(zone) - timedelta(seconds=cache.now())
    keys = frame["key"].map(lambda text: Key(text).unscoped.text, na_action="ignore")
    labels = frame["label"].mask(frame["label"] == "")
    known = labels.groupby(keys).last()
    frame = frame.assign(
        time=pd.to_datetime([started + timedelta(seconds=when) for when in frame["time"]]),
        key=keys,
        label=labels.fillna(keys.map(known)).fillna(keys).fillna(""),
    )
    first = ["time", "kind", "label", "nbytes", "seconds", "session", "turn", "key"]
    return frame.reindex(columns=[*first, *(name for name in frame if name not in first)])
