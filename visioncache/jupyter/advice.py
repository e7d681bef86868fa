"""Advice: one line on which bound of a cache to raise, from what the cache has seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from visioncache.cache import VisionFeatureCache


def load() -> None:
    """Load what advice is computed with, so that no thread does while a turn is being timed."""
    import visioncache.study.sim.bounds  # noqa: F401


def advice(cache: VisionFeatureCache) -> str:
    """Say what `advise` finds in a cache's events; "" until something was asked for again."""
    info = cache.info()
    if not (info.hits or info.store_hits or info.evictions):
        return ""  # nothing can have been asked for again, so pandas need not be loaded to say so
    from visioncache.study.sim.bounds import advise
    from visioncache.study.trace.errors import TraceError

    try:
        found = advise(cache.events, cache.max_size, cache.max_bytes)
    except TraceError:
        return ""  # the log was cleared, or keeps nothing
    return str(found) if found.ceiling else ""


def advised_html(cache: VisionFeatureCache) -> str:
    """Write a cache as HTML with the advice below its counters: how a notebook shows it."""
    return cache.to_html(advice(cache))
