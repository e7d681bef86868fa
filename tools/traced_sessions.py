"""Traced sessions: a session held with a real model, and the trace that its cache leaves."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from visioncache.cache import VisionFeatureCache
from visioncache.study.benchmark.run import converse
from visioncache.study.trace.traces import trace_frame
from visioncache.vlm.attach import attach
from visioncache.vlm.chat import Chat

if TYPE_CHECKING:
    import pandas as pd

    from visioncache.study.benchmark.sessions import Session


def record_session(
    model: Any,
    processor: Any,
    session: Session,
    *,
    max_size: int | None = None,
    max_bytes: float | str | None = None,
    max_tokens: int = 8,
) -> pd.DataFrame:
    """The trace of a session: every turn is asked, every image encoded or found.

    Args:
        model: what `mlx_vlm.load` returned first.
        processor: what it returned second.
        session: what to ask.
        max_size: entries that the cache holds at most; None for the session's own bound.
        max_bytes: bytes that it holds at most.
        max_tokens: the longest answer; no image depends on it.
    """
    size = session.max_size if max_size is None else max_size
    cache = VisionFeatureCache(size, max_bytes, log=1_000_000)
    with attach(model, processor, cache):
        turns = converse(session, partial(Chat, model, processor, cache, max_tokens=max_tokens))
        for number in range(1, len(session.turns) + 1):
            with cache.tag(session=session.name, turn=number):
                next(turns)
    return trace_frame(cache.events)
