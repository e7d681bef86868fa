"""Miss-ratio curves: equal to LRU run step by step, monotone, fast; and what sampling makes of them."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from traces_for_tests import WHOLE, as_ints, examples, frame, needs_libcachesim, slow_lru, traces

from visioncache.study import miss_ratio_curve, recommend, replay, save_trace, workload
from visioncache.study.sim import sizing
from visioncache.study.sim.compiled import compiled
from visioncache.study.sim.distances import NEVER_BEFORE, _by_merging, _one_pass, lru_distances, weight_below
from visioncache.study.trace import sample
from visioncache.study.trace.errors import TraceError
from visioncache.study.trace.lines import parse

if TYPE_CHECKING:
    from pathlib import Path


@given(traces(), st.sampled_from(["entries", "bytes"]))
@settings(max_examples=examples(150), deadline=None)
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
@settings(deadline=None)
def test_distances_count_the_different_images_since(trace: pd.DataFrame) -> None:
    keys, ones = as_ints(trace)
    asked = keys.tolist()
    slow = []
    for i, key in enumerate(asked):
        before = [j for j in range(i) if asked[j] == key]
        slow.append(len(set(asked[before[-1] : i])) if before else NEVER_BEFORE)
    assert lru_distances(keys, ones).tolist() == slow


@given(traces(keys=12, length=80))
@settings(max_examples=examples(60), deadline=None)
def test_the_compiled_pass_and_the_one_of_numpy_are_one(trace: pd.DataFrame) -> None:
    keys, sizes = as_ints(trace)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("visioncache.study.sim.compiled.COMPILED_FROM", 0)
        one_pass = compiled(_one_pass, len(keys))
    assert one_pass is not _one_pass
    assert one_pass(keys, sizes, int(keys.max()) + 1).tolist() == _by_merging(keys, sizes).tolist()


@given(traces(keys=20, length=200), st.sampled_from(["entries", "bytes"]))
@settings(max_examples=examples(60), deadline=None)
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


CURVE = """
import gc, json, sys, time
from pathlib import Path
import numpy as np, pandas as pd
from visioncache.study import miss_ratio_curve

def gib(name):
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)]
    return int(line.split()[1]) / 2**20

lookups, by = int(sys.argv[1]), sys.argv[2]
rng = np.random.default_rng(0)
image = (lookups // 10 * rng.random(lookups) ** 3).astype(np.int64)
nbytes = rng.integers(1, 64, lookups // 10)[image] * 65536
trace = pd.DataFrame({"key": pd.Series(image).astype(str), "nbytes": nbytes})
del image, nbytes
gc.collect()
miss_ratio_curve(trace.head(30_000), by)  # compiles
before = gib("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
start = time.process_time()  # others on the machine don't count
miss_ratio_curve(trace, by)
print(json.dumps([time.process_time() - start, gib("VmHWM") - before]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from /proc")
@pytest.mark.parametrize("by", ["entries", "bytes"])
def test_a_curve_takes_little_beyond_its_input(by: str) -> None:
    lookups = 10**7 if WHOLE else 10**6
    ran = subprocess.run(
        [sys.executable, "-c", CURVE, str(lookups), by], capture_output=True, text=True, check=True
    )
    seconds, gib = json.loads(ran.stdout)
    assert gib < 1.2 * lookups / 10**7 + 0.05
    assert seconds < 19 * (lookups / 10**7 if WHOLE else 1)


def skewed(skew: float, lookups: int, keys: int) -> pd.DataFrame:
    """Look-ups by Zipf's law, of keys of many sizes."""
    rng = np.random.default_rng(1)
    popularity = 1 / np.arange(1, keys + 1) ** skew
    asked = rng.choice(keys, lookups, p=popularity / popularity.sum())
    sizes = rng.integers(10**5, 10**7, keys)
    return pd.DataFrame({"key": asked.astype(str), "nbytes": sizes[asked]})


@pytest.mark.parametrize(("skew", "by"), [(0.9, "entries"), (1.2, "bytes")])
def test_the_interval_of_a_sample_covers_the_exact_curve_19_times_in_20(skew: float, by: str) -> None:
    trace = skewed(skew, 40_000, 8000)
    points = miss_ratio_curve(trace, by)["capacity"]
    # Small capacities too, where an interval is most easily too narrow.
    small = np.geomspace(points[0], points[5], 15).round().astype(int)
    points = np.unique([*small, *points[5::4]])
    exact = miss_ratio_curve(trace, by, capacities=points)["miss_ratio"]
    covered, off = [], []
    for seed in range(40):
        told = miss_ratio_curve(trace, by, capacities=points, sample=0.1, seed=seed)
        covered.append((told["low"] <= exact) & (exact <= told["high"]))
        off.append((told["miss_ratio"] - exact).abs())
    by_capacity = np.mean(covered, axis=0)
    assert by_capacity.mean() >= 0.95
    assert by_capacity[:15].mean() >= 0.95
    assert np.mean(off, axis=0)[15:].mean() < 0.03


def test_a_sample_is_the_same_from_a_file_that_is_read_line_by_line(tmp_path: Path) -> None:
    trace = skewed(0.9, 3000, 500).assign(time=0.0, seconds=1.0, session='quoted "key": "no"')
    save_trace(trace, tmp_path / "t.jsonl")
    of_frame, of_file = (miss_ratio_curve(t, sample=0.2, seed=3) for t in (trace, tmp_path / "t.jsonl"))
    pd.testing.assert_frame_equal(of_frame, of_file)


def test_most_lines_of_a_file_are_left_out_before_they_are_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_trace(skewed(0.9, 5000, 2000).assign(time=0.0), tmp_path / "t.jsonl")
    parsed = []
    monkeypatch.setattr(sample, "parse", lambda raw: parsed.append(raw) or parse(raw))
    drawn = sample.sample_of(tmp_path / "t.jsonl", 0.05)
    assert drawn.lookups == 5000
    assert len(parsed) == len(drawn.asked) < 1000
    assert drawn.place.max() < 0.05


def test_one_image_asked_once_misses() -> None:
    assert miss_ratio_curve(frame([0], [5]))["miss_ratio"].tolist() == [1.0]


def test_bad_requests_for_a_curve_are_told() -> None:
    trace = frame([0, 1, 0], [1, 1, 1])
    with pytest.raises(ValueError, match="'entries', 'bytes'"):
        miss_ratio_curve(trace, "pages")
    for capacities in ([], [0, 1]):
        with pytest.raises(ValueError, match="each is at least 1"):
            miss_ratio_curve(trace, capacities=capacities)
    for share in (0, 1, -0.1, 2):
        with pytest.raises(ValueError, match="above 0 and below 1"):
            miss_ratio_curve(trace, sample=share)
    with pytest.raises(TraceError, match="too few keys"):
        miss_ratio_curve(trace, sample=0.001)
    with pytest.raises(TraceError, match="no look-ups"):
        miss_ratio_curve(frame([], []))


@given(traces(), st.sampled_from([0.1, 0.5, 0.9, 1.0]))
@settings(max_examples=examples(150), deadline=None)
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


def test_a_recommendation_among_thousands_of_sizes_takes_few_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    # One for every size would be 5,000.
    rng = np.random.default_rng(0)
    asked = rng.zipf(1.2, 50_000) % 5000
    trace = pd.DataFrame({"key": asked.astype(str), "nbytes": rng.permutation(10**6)[:5000][asked]})
    passes = []
    monkeypatch.setattr(sizing, "lru_distances", lambda *a: passes.append(a) or lru_distances(*a))
    for target in (0.2, 0.5, 0.9, 0.99):
        passes.clear()
        advice = recommend(trace, target)
        assert len(passes) <= 3 * math.log2(5000)
        told = miss_ratio_curve(trace, "bytes", capacities=[advice.max_bytes - 1, advice.max_bytes])
        assert advice.hit_ratio == pytest.approx(1 - told["miss_ratio"][1])
        assert 1 - told["miss_ratio"][0] < min(target, advice.ceiling) <= advice.hit_ratio + 1e-9


def test_values_of_no_bytes_are_recommended_a_cache_that_there_can_be() -> None:
    assert recommend(frame([0, 0, 1, 0], [0] * 4)).max_bytes == 1


def test_the_recommendation_is_one_line() -> None:
    trace = workload("document", pages=5, questions=20)
    assert str(recommend(trace)) == "with 6.11 MiB you would have hit 95% and saved 16.5 s of encoding"
    assert "no cache reaches 99%" in str(recommend(trace, 0.99))
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        recommend(trace, 90)
