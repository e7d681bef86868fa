"""Frames: what a cache holds and what happened in it, as DataFrames for a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

    from visioncache.cache import VisionFeatureCache
    from visioncache.records import Entry


def entries_frame(cache: VisionFeatureCache, entries: Iterable[Entry] | None = None) -> pd.DataFrame:
    """List what a cache holds, or some of it, a row an entry; all of it from least to most recently used.

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
        for entry in (cache.entries() if entries is None else entries)
    ]
    names = ["label", "key", "nbytes", "shape", "dtype", "hits", "idle_s", "age_s", "cost_s", "pinned"]
    return pd.DataFrame(rows, columns=names)
