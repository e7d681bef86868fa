"""Miss-ratio curves: equal to LRU run step by step, monotone, fast; and what sampling makes of them."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from traces_for_tests import as_ints, frame, needs_libcachesim, slow_lru, traces

from visioncache.study import miss_ratio_curve, recommend, replay, workload
from visioncache.study.sim.mrc import NEVER_BEFORE, lru_distances, weight_below
from visioncache.study.trace.traces import TraceError


@given(traces(), st.sampled_from(["entries", "bytes"]))
@settings(max_examples=150, deadline=None)
def test_the_exact_curve_is_lru_step_by_step_at_every_capacity(trace: pd.DataFrame, by: str) -> None:
    keys, sizes = as_ints(trace)
    if by == "entries":
        sizes = np.ones_like(sizes)
    capacities = range(1, int(sizes.sum()) + 2)
    curve = miss_ratio_curve(trace, by, capacities=capacities)
    slow = [1 - np.mean(slow_lru(keys.tolist(), sizes.tolist(), c)) for c in capacities]
    np.testing.assert_allclose(curve["miss_ratio"], slow, atol=1e-12)
    assert not curve["error"].any()


@given(st.permutations(range(37)), st.lists(st.integers(0, 9), min_size=37, max_size=37))
def test_weight_below_adds_what_is_earlier_and_lower(order: list[int], weights: list[int]) -> None:
    rank = np.argsort(order)
    slow = [sum(weights[j] for j in range(i) if rank[j] < rank[i]) for i in range(37)]
    assert weight_below(np.array(order), np.array(weights)).tolist() == slow


@given(traces(size=1))
def test_distances_count_the_different_images_since(trace: pd.DataFrame) -> None:
    keys, ones = as_ints(trace)
    asked = keys.tolist()
    slow = []
    for i, key in enumerate(asked):
        before = [j for j in range(i) if asked[j] == key]
        slow.append(len(set(asked[before[-1] : i])) if before else NEVER_BEFORE)
    assert lru_distances(keys, ones).tolist() == slow


@given(traces(keys=20, length=200), st.sampled_from(["entries", "bytes"]))
@settings(deadline=None)
def test_lru_never_misses_more_with_more(trace: pd.DataFrame, by: str) -> None:
    curve = miss_ratio_curve(trace, by)
    assert (curve["miss_ratio"].diff().dropna() <= 1e-12).all()
    compulsory = trace["key"].nunique() / len(trace)
    assert curve["miss_ratio"].iloc[-1] == pytest.approx(compulsory)


@pytest.mark.parametrize("name", ["album", "catalogue", "interleaved", "loop"])
@pytest.mark.parametrize("by", ["entries", "bytes"])
def test_the_curve_is_what_the_cache_itself_does(name: str, by: str) -> None:
    trace = workload(name, seed=3)
    table = replay(trace, ["visioncache"], None, by, references=False)
    curve = miss_ratio_curve(trace, by, capacities=table["capacity"].tolist())
    np.testing.assert_allclose(1 - table["hit_ratio"], curve["miss_ratio"], atol=1e-12)


def million() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    asked = rng.zipf(1.1, 10**6) % 200_000
    return pd.DataFrame({"key": asked.astype(str), "nbytes": rng.integers(10**5, 10**7, 200_000)[asked]})


@needs_libcachesim
@pytest.mark.parametrize("by", ["entries", "bytes"])
def test_a_million_requests_take_less_than_ten_seconds_and_agree_with_libcachesim(by: str) -> None:
    import libcachesim as lcs

    trace = million()
    start = time.perf_counter()
    curve = miss_ratio_curve(trace, by)
    assert time.perf_counter() - start < 10
    keys, sizes = as_ints(trace)
    if by == "entries":
        sizes = np.ones_like(sizes)
    at = 60
    cache = lcs.LRU(int(curve["capacity"][at]), hashpower=18)
    get = lcs.ReqOp.OP_GET
    misses = sum(
        not cache.get(lcs.Request(obj_id=key, obj_size=size, op=get))
        for key, size in zip(keys.tolist(), sizes.tolist(), strict=True)
    )
    assert misses / len(trace) == pytest.approx(curve["miss_ratio"][at], abs=1e-12)


@pytest.mark.parametrize("by", ["entries", "bytes"])
def test_a_sample_is_near_the_exact_curve_and_says_how_near(by: str) -> None:
    trace = million().iloc[:300_000]
    exact = miss_ratio_curve(trace, by)
    told = []
    for seed in range(3):
        sampled = miss_ratio_curve(trace, by, sample=0.1, seed=seed)
        off = (sampled["miss_ratio"] - exact["miss_ratio"]).abs()
        assert off.mean() < 0.02
        assert (sampled["error"] > 0).any()
        told.append((off <= 3 * sampled["error"] + 0.01).mean())
    assert np.mean(told) > 0.9


def test_one_image_asked_once_misses() -> None:
    assert miss_ratio_curve(frame([0], [5]))["miss_ratio"].tolist() == [1.0]


def test_bad_requests_for_a_curve_are_told() -> None:
    trace = frame([0, 1, 0], [1, 1, 1])
    with pytest.raises(ValueError, match="'entries', 'bytes'"):
        miss_ratio_curve(trace, "pages")
    for share in (0, 1, -0.1, 2):
        with pytest.raises(ValueError, match="above 0 and below 1"):
            miss_ratio_curve(trace, sample=share)
    with pytest.raises(TraceError, match="too few keys"):
        miss_ratio_curve(trace, sample=0.001)
    with pytest.raises(TraceError, match="no look-ups"):
        miss_ratio_curve(frame([], []))


@given(traces(), st.sampled_from([0.1, 0.5, 0.9, 1.0]))
@settings(max_examples=150, deadline=None)
def test_the_recommendation_is_the_smallest_cache_that_would_have_done(
    trace: pd.DataFrame, target: float
) -> None:
    keys, sizes = as_ints(trace)
    advice = recommend(trace, target)
    ceiling = 1 - trace["key"].nunique() / len(trace)
    assert advice.ceiling == pytest.approx(ceiling)
    ratio = {c: float(np.mean(slow_lru(keys.tolist(), sizes.tolist(), c))) for c in range(1, sizes.sum() + 1)}
    enough = [c for c, hit in ratio.items() if hit >= min(target, ceiling) - 1e-9]
    assert advice.max_bytes == min(enough)
    assert advice.hit_ratio == pytest.approx(ratio[advice.max_bytes])
    assert advice.reached == (advice.hit_ratio >= target)
    saved = replay(trace, ["lru"], [advice.max_bytes], references=False)["seconds_saved"][0]
    assert advice.seconds_saved == pytest.approx(saved)


def test_the_recommendation_is_one_line() -> None:
    trace = workload("document", pages=5, questions=20)
    assert str(recommend(trace)) == "with 6.11 MiB you would have hit 95% and saved 11.7 s of encoding"
    assert "no cache reaches 99%" in str(recommend(trace, 0.99))
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        recommend(trace, 90)
