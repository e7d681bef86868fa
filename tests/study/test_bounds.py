"""Advice on bounds: following it, in the cache itself, reaches what it promised; nothing smaller does."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from traces_for_tests import frame, traces

from visioncache import VisionFeatureCache
from visioncache.study.sim.bounds import advise
from visioncache.study.trace.errors import TraceError


def replayed(trace: pd.DataFrame, max_size: int | None, max_bytes: int | None) -> float:
    """The hit ratio of a real cache under two bounds."""
    cache = VisionFeatureCache(max_size, max_bytes)
    for name, size in zip(trace["key"], trace["nbytes"], strict=True):
        if cache.get(name) is None:
            cache.put(name, np.zeros(size, np.uint8))
    return cache.info().hit_rate


BOUNDS = st.one_of(st.none(), st.integers(1, 12))


@example(frame([1, 4, 1], [1, 2, 1]), None, 2, 0.2)  # one byte hits where two don't
@given(traces(), BOUNDS, st.one_of(st.none(), st.integers(1, 60)), st.sampled_from([0.2, 0.5, 0.9, 1.0]))
@settings(max_examples=300, deadline=None)
def test_following_the_advice_reaches_the_promise(
    trace: pd.DataFrame, max_size: int | None, max_bytes: int | None, target: float
) -> None:
    advice = advise(trace, max_size, max_bytes, target)
    assert advice.hit_ratio_now == pytest.approx(replayed(trace, max_size, max_bytes))
    followed = advice.max_size or max_size, advice.max_bytes or max_bytes
    assert replayed(trace, *followed) == pytest.approx(advice.hit_ratio)
    assert advice.hit_ratio >= min(target, advice.ceiling) - 1e-9
    if advice.max_size is not None:
        assert advice.max_size > (max_size or 0)
        assert replayed(trace, advice.max_size - 1, followed[1]) < min(target, advice.ceiling)
    if advice.max_bytes is not None:
        assert advice.max_bytes > (max_bytes or 0)
        assert replayed(trace, followed[0], advice.max_bytes - 1) < min(target, advice.ceiling)
    if not advice.command:
        assert replayed(trace, max_size, max_bytes) >= min(target, advice.ceiling) - 1e-9


def worked(entries: int, kib: int, names: str) -> VisionFeatureCache:
    """A cache with two bounds after some look-ups of 1 KiB each."""
    cache = VisionFeatureCache(entries, f"{kib} KiB")
    for name in names:
        if cache.get(name) is None:
            cache.put(name, np.zeros(1024, np.uint8), seconds=0.5)
    return cache


def test_the_bound_that_binds_is_the_one_to_raise() -> None:
    asked = "abcd" * 5
    for entries, kib, command in [
        (2, 1024, "%vcache resize --max-size 4"),
        (20, 2, "%vcache resize --max-bytes 4KiB"),
        (2, 2, "%vcache resize --max-size 4 --max-bytes 4KiB"),
        (20, 1024, ""),
    ]:
        cache = worked(entries, kib, asked)
        assert advise(cache.events, cache.max_size, cache.max_bytes, 0.8).command == command
    told = str(advise(worked(2, 1024, asked).events, 2, 2**20, 0.8))
    assert (
        told
        == "if these look-ups came again, 80% would hit with 4 entries, not 0% as with the present limits, which saves 8 s more: "
        "%vcache resize --max-size 4"
    )
    enough = str(advise(worked(20, 1024, asked).events, 20, 2**20))
    assert (
        enough
        == "large enough: if these look-ups came again, 80% would hit; the rest were first looks, which always miss"
    )


def test_bytes_are_advised_in_round_numbers_that_keep_the_promise() -> None:
    trace = pd.DataFrame({"key": list("abab"), "nbytes": [30_000_123, 1, 30_000_123, 1], "seconds": 1.0})
    advice = advise(trace, None, 1000, 0.5)
    assert advice.command == "%vcache resize --max-bytes 29MiB"
    assert replayed(trace, None, advice.max_bytes) == advice.hit_ratio == 0.5


def test_what_can_not_be_advised_on_is_told() -> None:
    with pytest.raises(TraceError, match="no look-ups"):
        advise(VisionFeatureCache().events)
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        advise(VisionFeatureCache().events, target=90)
