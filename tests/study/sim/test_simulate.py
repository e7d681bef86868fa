"""Policies, bounds, granularity and the command, against slow truths and real libraries."""

from __future__ import annotations

import argparse
import io
import json
import resource
import sys
from dataclasses import replace
from itertools import count, groupby
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from traces_for_tests import (
    WHOLE,
    as_ints,
    asked_of,
    best_possible,
    by_requests,
    examples,
    frame,
    needs_libcachesim,
    slow_lru,
    traces,
)

import visioncache
from visioncache.study import compare_granularity, recommend, replay, save_trace, workload
from visioncache.study.sim.borrowed import by_cachetools, by_libcachesim
from visioncache.study.sim.capacities import working_set_shares
from visioncache.study.sim.command import add_arguments, run_simulate
from visioncache.study.sim.gains import SHARES
from visioncache.study.sim.granularity import by_request
from visioncache.study.sim.greedy import lrfu
from visioncache.study.sim.optimum import belady, most_saved, reusable
from visioncache.study.sim.outcome import Asked, Outcome
from visioncache.study.sim.policies import POLICIES, available, lru, policy, run_policy
from visioncache.study.trace.asked import gaps
from visioncache.study.trace.errors import TraceError
from visioncache.study.trace.images import ImageModel, draw, published
from visioncache.study.trace.lookups import requests
from visioncache.study.trace.provenance import trace_digest
from visioncache.study.trace.workloads import WORKLOADS

if TYPE_CHECKING:
    from pathlib import Path


@needs_libcachesim
def test_every_policy_runs_here() -> None:
    assert available(POLICIES) == list(POLICIES)
    assert available() == [name for name, found in POLICIES.items() if found.usual]
    assert set(available()) == {*POLICIES} - {"lrfu", "lhd", "lrb", "3l-cache"}


@given(st.one_of(traces(keys=5, length=14), by_requests(keys=5, length=14)), st.integers(1, 4))
@settings(max_examples=examples(60), deadline=None)
def test_belady_is_the_best_that_can_be_done(trace: pd.DataFrame, capacity: int) -> None:
    asked = asked_of(trace, "entries")
    best = best_possible(trace, [1] * len(trace), [1] * len(trace), capacity)
    assert belady(asked, capacity).hits.sum() == best


@given(
    st.one_of(traces(keys=5, length=14, size=4), by_requests(keys=5, length=14, size=4)),
    st.integers(1, 12),
    st.sampled_from(["count", "bytes", "seconds"]),
)
@settings(max_examples=examples(60), deadline=None)
def test_the_bound_is_above_the_best_that_can_be_done(
    trace: pd.DataFrame, capacity: int, worth_of: str
) -> None:
    worth = {
        "count": np.ones(len(trace)),
        "bytes": trace["nbytes"].to_numpy(float),
        "seconds": trace["seconds"].to_numpy(),
    }
    best = best_possible(trace, trace["nbytes"].tolist(), worth[worth_of].tolist(), capacity)
    for steps in (0, 5, 150):
        assert most_saved(asked_of(trace), worth[worth_of], capacity, steps=steps) >= best - 1e-9


@pytest.mark.parametrize("name", WORKLOADS)
def test_no_policy_beats_belady_the_offline_bound_or_an_infinite_cache(name: str) -> None:
    trace = workload(name, seed=1, **({"requests": 800} if name == "catalogue" else {}))
    for by in ("entries", "bytes"):
        table = replay(trace, by=by)
        for column in ("hit_ratio", "byte_hit_ratio", "seconds_saved"):
            values = table.pivot_table(index="capacity", columns="policy", values=column, dropna=False)
            policies = values[available()]
            assert (policies.max(axis=1) <= values["offline-bound"] + 1e-9).all()
            assert (values["offline-bound"] <= values["infinite"] + 1e-9).all()
        if by == "entries":
            hits = table.pivot_table(index="capacity", columns="policy", values="hit_ratio", dropna=False)
            assert (hits[available()].max(axis=1) <= hits["belady"] + 1e-9).all()
            assert (hits["belady"] <= hits["offline-bound"] + 1e-9).all()


@needs_libcachesim
@pytest.mark.parametrize("name", WORKLOADS if WHOLE else ["album", "branches"])
def test_policies_that_learn_run_on_every_workload_and_stay_below_the_best(name: str) -> None:
    trace = workload(name, seed=1, **({"requests": 800} if name == "catalogue" else {}))
    table = replay(trace, ["lhd", "lrb", "3l-cache"], by="entries")
    notes = table.groupby("policy")["note"].unique()
    assert notes["lhd"].tolist() == ["draws at random, so that another run hits a little differently"]
    for learner in ("lrb", "3l-cache"):  # a table of LRU under another name
        assert notes[learner].tolist() == [
            "hits where LRU does: on so short a trace it has learnt nothing; look-up by look-up, not by request"
        ]
    hits = table.pivot_table(index="capacity", columns="policy", values="hit_ratio")
    assert (hits[["lhd", "lrb", "3l-cache"]].max(axis=1) <= hits["belady"] + 1e-9).all()
    assert hits[["lhd", "lrb", "3l-cache"]].iloc[-1].tolist() == pytest.approx(
        [hits["infinite"].iloc[-1]] * 3
    )


@needs_libcachesim
def test_a_second_run_of_lhd_hits_a_little_differently() -> None:
    asked = asked_of(workload("catalogue", requests=2000), "entries")
    counts = {int(by_libcachesim("LHD", asked, 60).hits.sum()) for _ in range(4)}
    assert len(counts) > 1
    assert max(counts) - min(counts) < 0.05 * max(counts)


def test_a_policy_that_learns_is_noted_only_where_it_is_lru() -> None:
    @policy("learner")
    def learner(asked: Asked, capacity: int, *, learnt: int = 0) -> Outcome:
        hits = lru(asked, capacity).hits
        return Outcome(hits & (not learnt), 0)

    POLICIES["learner"] = replace(POLICIES["learner"], learns=True)
    try:
        table = replay(
            frame([0, 1, 0, 1], [1] * 4), ["learner", "learner:learnt=1"], [2], "entries", references=False
        )
        assert [bool(note) for note in table["note"]] == [True, False]
    finally:
        del POLICIES["learner"]


def test_the_bound_holds_where_what_fits_fills_the_capacity_exactly() -> None:
    # At one entry, as many reuses of length one as there are requests.
    trace = workload("interleaved", seed=1)[["key", "nbytes", "seconds"]]
    table = replay(trace, [], range(1, 8), by="entries").pivot_table(
        index="capacity", columns="policy", values="hit_ratio"
    )
    assert (table["offline-bound"].diff().dropna() > 0).all()
    assert (table["offline-bound"] - table["belady"]).max() < 0.03


def test_the_dual_brings_the_bound_near_what_is_possible() -> None:
    asked = asked_of(workload("catalogue", requests=2000), "entries")
    best = belady(asked, 40).hits.sum()
    loose, tight = (most_saved(asked, np.ones(len(asked.keys)), 40, steps=steps) for steps in (0, 150))
    assert best <= tight < loose
    assert tight - best < (loose - best) / 2


@given(traces(), st.integers(1, 30))
@settings(max_examples=examples(60), deadline=None)
def test_our_cache_libcachesims_and_cachetools_lru_are_one(trace: pd.DataFrame, capacity: int) -> None:
    keys, sizes = as_ints(trace)
    slow = slow_lru(keys.tolist(), sizes.tolist(), capacity)
    table = replay(trace, ["visioncache", "lru"], [capacity], references=False)
    assert table["hit_ratio"].tolist() == pytest.approx([np.mean(slow)] * 2)
    assert table["evictions"][0] == table["evictions"][1]


@needs_libcachesim
@given(
    st.one_of(traces(keys=12, length=120), by_requests(keys=12, length=120)),
    st.integers(1, 40),
    st.sampled_from(["LRU", "FIFO", "LFU"]),
)
@settings(max_examples=examples(60), deadline=None)
def test_libcachesim_hits_where_we_do(trace: pd.DataFrame, capacity: int, name: str) -> None:
    asked = asked_of(trace)
    ours = lru(asked, capacity) if name == "LRU" else by_cachetools(f"{name}Cache", asked, capacity)
    theirs = by_libcachesim(name, asked, capacity)
    assert ours.hits.tolist() == theirs.hits.tolist()
    assert ours.evictions == theirs.evictions


@needs_libcachesim
@pytest.mark.parametrize("by", ["entries", "bytes"])
def test_libcachesim_hits_where_we_do_in_a_long_trace(by: str) -> None:
    trace = workload("catalogue", seed=4, requests=200_000 if WHOLE else 10_000, items=5000)
    trace = trace[["key", "nbytes"]]  # libCacheSim knows no requests
    asked = asked_of(trace, by)
    for capacity in working_set_shares(trace, by, [0.02, 0.2, 0.7]):
        for ours, theirs in (
            (lru(asked, capacity), "LRU"),
            (by_cachetools("FIFOCache", asked, capacity), "FIFO"),
            (by_cachetools("LFUCache", asked, capacity), "LFU"),
        ):
            found = by_libcachesim(theirs, asked, capacity)
            assert (ours.hits == found.hits).all()
            assert ours.evictions == found.evictions


def test_a_loop_one_larger_than_the_cache_never_hits_under_lru() -> None:
    table = replay(workload("loop", size=21), capacities=[20, 21], by="entries")
    hit = table.pivot_table(index="policy", columns="capacity", values="hit_ratio")
    assert hit.loc["visioncache"].tolist() == [0, pytest.approx(0.95)]
    assert hit.loc["belady", 20] > 0.85


def test_gdsf_keeps_what_is_dear_for_its_bytes() -> None:
    asked = [0, 1, 2, 0, 1, 3, 0, 2, 1, 4, 0]
    dear = [50.0 if key == 0 else 1.0 for key in asked]
    table = replay(frame(asked, [4] * 11, dear), ["gdsf", "lru"], [8], references=False)
    assert table["seconds_saved"].tolist() == [150.0, 0.0]


@needs_libcachesim
@pytest.mark.parametrize("name", ["s3-fifo", "w-tinylfu"])
def test_what_differs_from_a_policy_as_published_is_in_the_table(name: str) -> None:
    trace = frame([0, 1, 0, 2, 3, 1] * 40, [10, 30, 10, 20, 40, 30] * 40)
    notes = replay(trace, name, [20, 200, 2000, 100_000], references=False)["note"].tolist()
    assert "needs room for" in notes[0]
    if name == "s3-fifo":
        assert notes[1:] == ["small_size_ratio is 0.21, not 0.1, to hold the largest value", "", ""]
    else:
        assert all("units of the mean value" in note for note in notes[2:])


@needs_libcachesim
def test_w_tinylfu_by_bytes_is_quiet_small_and_forgets(capfd: pytest.CaptureFixture[str]) -> None:
    # Popular for the first half, then never again: a sketch that doesn't age would keep them.
    rng = np.random.default_rng(0)
    old, new = rng.integers(0, 50, 40_000), 50 + rng.integers(0, 50, 40_000)
    once = 100 + np.arange(80_000)
    asked = np.stack([np.concatenate([old, new]), once], axis=1).ravel()
    trace = pd.DataFrame(
        {"key": asked.astype(str), "nbytes": rng.integers(3 * 10**6, 9 * 10**6, 50_000)[asked % 50_000]}
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    table = replay(trace, ["w-tinylfu", "lru"], ["600 MB"], references=False).set_index("policy")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert capfd.readouterr() == ("", "")
    assert grown * (1 if sys.platform == "darwin" else 1024) < 300 * 2**20
    # The new half's fifty come as often as the old ones did: it must hit them too.
    assert table["hit_ratio"]["w-tinylfu"] > 0.45


@needs_libcachesim
def test_a_capacity_that_a_policy_cannot_divide_has_no_number() -> None:
    trace = frame([0, 1, 0, 2], [10, 10, 10, 10])
    table = replay(trace, ["s3-fifo", "w-tinylfu", "lru"], [10], references=False)
    assert table["hit_ratio"].isna().tolist() == [True, True, False]


def test_one_policy_and_one_capacity_need_no_list() -> None:
    trace = frame([0, 1, 0], [1, 1, 1])
    pd.testing.assert_frame_equal(
        replay(trace, "lru", 1, by="entries"), replay(trace, ["lru"], [1], by="entries")
    )
    pd.testing.assert_frame_equal(replay(trace, "lru", "2 B"), replay(trace, ["lru"], [2]))


def test_policies_are_named_with_commas_spaces_and_options() -> None:
    trace = workload("loop")
    table = replay(trace, "lru, fifo,lrfu:decay=1", [20], "entries", references=False)
    assert table["policy"].tolist() == ["lru", "fifo", "lrfu:decay=1"]
    for text, said in (("lrfu:decay", "'decay' is no option"), ("lfru", "no policy 'lfru'")):
        with pytest.raises(ValueError, match=said):
            replay(trace, text)


def test_a_policy_of_ones_own_is_replayed_beside_the_others() -> None:
    @policy("never")
    def never(asked: Asked, _capacity: int, *, but: int = -1) -> Outcome:
        return Outcome((asked.keys == but) & reusable(asked.keys), 0)

    try:
        trace = frame([0, 1, 0, 1], [1, 1, 1, 1])
        table = replay(trace, ["never", "never:but=1", "lru"], [2], "entries", references=False, workers=2)
        assert table["hit_ratio"].tolist() == [0, 0.25, 0.5]
    finally:
        del POLICIES["never"]
    with pytest.raises(ValueError, match="without ':', ',' and '='"):
        policy("a:b")


@given(traces(), st.integers(1, 30))
@settings(max_examples=examples(60), deadline=None)
def test_lrfu_is_lru_where_uses_fade_at_once_and_lfu_where_they_never_do(
    trace: pd.DataFrame, capacity: int
) -> None:
    keys, _ = as_ints(trace)
    asked = asked_of(trace, "entries")
    assert (lrfu(asked, capacity, decay=0.4).hits == lru(asked, capacity).hits).all()
    held: dict[int, tuple[int, int]] = {}  # key -> uses, when last used
    hits = []
    for turn, key in enumerate(keys.tolist()):
        hits.append(key in held)
        if key not in held and len(held) == capacity:
            del held[min(held, key=lambda k: held[k])]
        held[key] = held.get(key, (0, 0))[0] + 1, turn
    assert lrfu(asked, capacity, decay=1.0).hits.tolist() == hits


sized = st.one_of(traces(keys=12, length=150), by_requests(keys=12, length=150)).map(
    lambda trace: trace.assign(nbytes=trace["nbytes"] - trace["nbytes"].min())  # some have 0 bytes
)


@given(sized, st.integers(1, 40))
@settings(max_examples=examples(60), deadline=None)
def test_a_long_trace_is_served_as_the_real_cache_serves_it(trace: pd.DataFrame, capacity: int) -> None:
    asked = asked_of(trace)
    real = POLICIES["visioncache"].run(asked, capacity)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("visioncache.study.sim.policies.DRIVEN", 0)
        quick = POLICIES["visioncache"].run(asked, capacity)
    assert quick.hits.tolist() == real.hits.tolist()
    assert quick.evictions == real.evictions
    assert quick.note.startswith("found as lru's")
    assert not real.note


@given(
    sized, st.integers(1, 40), st.sampled_from(["gdsf", "lrfu:decay=0.5", "lrfu:decay=0.999", "lrfu:decay=1"])
)
@settings(max_examples=examples(60), deadline=None)
def test_compiled_policies_are_the_same_step_by_step(trace: pd.DataFrame, capacity: int, name: str) -> None:
    asked = asked_of(trace)
    plain = run_policy(name, asked, capacity)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("visioncache.study.sim.compiled.COMPILED_FROM", 0)
        quick = run_policy(name, asked, capacity)
    assert quick.hits.tolist() == plain.hits.tolist()
    assert quick.evictions == plain.evictions


@given(sized, st.integers(1, 40))
@settings(max_examples=examples(60), deadline=None)
def test_gdsf_is_what_looking_for_the_lowest_every_time_gives(trace: pd.DataFrame, capacity: int) -> None:
    asked = asked_of(trace)
    keys, sizes, turns = asked.keys.tolist(), asked.sizes.tolist(), count()
    cost = trace["seconds"].tolist() if trace["seconds"].any() else [1.0] * len(trace)
    held: dict[int, tuple[float, int, int]] = {}  # key -> priority, turn, uses
    size_of = dict(zip(keys, sizes, strict=True))
    age, hits = 0.0, []
    for _, request in groupby(range(len(keys)), key=asked.requests.tolist().__getitem__):
        missed: dict[int, int] = {}
        for i in request:
            key, size = keys[i], max(sizes[i], 1)
            hits.append(key in held or key in missed)
            if key in held:
                uses = held[key][2] + 1
                held[key] = age + cost[i] * uses / size, next(turns), uses
            else:
                missed.setdefault(key, i)
        for key, i in missed.items():
            while sizes[i] <= capacity < sum(size_of[other] for other in held) + sizes[i]:
                age = held.pop(min(held, key=lambda k: held[k][:2]))[0]
            if sizes[i] <= capacity:
                held[key] = age + cost[i] / max(sizes[i], 1), next(turns), 1
    assert run_policy("gdsf", asked_of(trace), capacity).hits.tolist() == hits


@needs_libcachesim
@pytest.mark.parametrize("by", ["entries", "bytes"])
def test_ratios_alone_come_from_c_and_are_the_same(by: str) -> None:
    trace = workload("catalogue", requests=1500)[["key", "nbytes", "seconds"]]
    names = ["sieve", "s3-fifo:small_size_ratio=0.2", "arc", "gdsf-size", "w-tinylfu", "gdsf"]
    told, fast = (replay(trace, names, None, by, ratios=ratios) for ratios in (False, True))
    for column in ("hit_ratio", "evictions", "encodes"):
        assert fast[column].to_numpy() == pytest.approx(told[column].to_numpy(), nan_ok=True)
    assert fast["note"].tolist() == told["note"].tolist()
    in_c = fast["policy"].str.split(":").str[0].isin(["sieve", "s3-fifo", "arc", "gdsf-size"])
    known = ~in_c if by == "entries" else in_c | True
    for column, rows in (("byte_hit_ratio", known), ("seconds_saved", ~in_c)):
        assert fast.loc[~rows, column].isna().all()
        expected = told.loc[rows, column].to_numpy()
        assert fast.loc[rows, column].to_numpy() == pytest.approx(expected, nan_ok=True)


@needs_libcachesim
def test_ratios_that_come_from_c_say_that_they_are_look_up_by_look_up() -> None:
    trace = frame([0, 1, 0, 1], [1] * 4).assign(request=[0, 0, 1, 1])
    notes = [
        replay(trace, "sieve", 1, references=False, ratios=ratios)["note"][0] for ratios in (False, True)
    ]
    assert notes == ["", "look-up by look-up, not by request"]


@needs_libcachesim
@pytest.mark.parametrize("name", ["sieve", "s3-fifo", "w-tinylfu", "arc", "gdsf-size"])
def test_libcachesim_driven_by_request_is_itself_where_requests_have_one_look_up(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = asked_of(workload("catalogue", requests=800)[["key", "nbytes", "seconds"]])
    capacity = int(asked.sizes.max() * 30)
    plain = run_policy(name, asked, capacity)
    monkeypatch.setattr("visioncache.study.sim.borrowed.is_one_by_one", lambda _: False)
    driven = run_policy(name, asked, capacity)
    assert (driven.hits.tolist(), driven.evictions) == (plain.hits.tolist(), plain.evictions)


@needs_libcachesim
def test_a_million_look_ups_under_five_policies_at_nine_capacities_take_less_than_a_minute() -> None:
    rng = np.random.default_rng(0)
    image = (100_000 * rng.random(10**6 if WHOLE else 10**5) ** 3).astype(np.int64)
    sizes = rng.integers(1, 64, 100_000)[image] * 65536
    seconds = rng.random(100_000)[image]
    trace = pd.DataFrame({"key": pd.Series(image).astype(str), "nbytes": sizes, "seconds": seconds})
    for policies, ratios in (
        (["visioncache", "gdsf", "lrfu", "lru", "fifo"], False),
        (["lru", "fifo", "sieve", "s3-fifo", "arc"], True),
    ):
        alone, together = (
            resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        capacities = working_set_shares(trace, "bytes", SHARES)
        table = replay(trace, policies, capacities, references=False, ratios=ratios, workers=2)
        spent = _cpu(resource.RUSAGE_SELF, alone) + _cpu(resource.RUSAGE_CHILDREN, together) / 2
        assert spent < 60  # seconds of two cores that nobody else uses
        assert len(table) == 45
        assert table["hit_ratio"].notna().all()


def _cpu(who: int, before: resource.struct_rusage) -> float:
    now = resource.getrusage(who)
    return now.ru_utime + now.ru_stime - before.ru_utime - before.ru_stime


def test_several_processes_give_the_same_table() -> None:
    trace = workload("interleaved")
    names = ["visioncache", "gdsf", "lru"]
    alone, shared = (replay(trace, names, by="entries", workers=workers) for workers in (1, 2))
    pd.testing.assert_frame_equal(alone, shared)
    assert alone.attrs == shared.attrs


@given(traces(), st.integers(1, 40))
@settings(max_examples=examples(60), deadline=None)
def test_lru_by_distance_is_cachetools_lru_evictions_and_all(trace: pd.DataFrame, capacity: int) -> None:
    asked = asked_of(trace)
    quick, slow = lru(asked, capacity), by_cachetools("LRUCache", asked, capacity)
    assert quick.hits.tolist() == slow.hits.tolist()
    assert quick.evictions == slow.evictions


def test_bad_requests_for_a_replay_are_told() -> None:
    trace = frame([0, 1], [1, 1])
    with pytest.raises(ValueError, match="no policy 'lfru'; there are: visioncache, gdsf"):
        replay(trace, ["lfru"])
    with pytest.raises(ValueError, match="from 1 to 2"):
        replay(trace, ["lru"], [0])
    with pytest.raises(ValueError, match="at least one"):
        replay(trace, ["lru"], [])
    with pytest.raises(ValueError, match="-20% of the working set: a share is above 0"):
        working_set_shares(trace, "bytes", [-0.2])
    with pytest.raises(ValueError, match="target='most': a hit ratio is above 0"):
        recommend(trace, target="most")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no workload 'albums'; there are: album"):
        workload("albums")


def test_a_chat_that_adds_an_image_asks_for_a_new_request_but_old_images() -> None:
    trace = frame([0, 0, 1, 0, 1], [10] * 5).assign(session="a", turn=[0, 1, 1, 2, 2])
    assert by_request(trace)["images"].tolist() == [1, 2, 2]
    table = compare_granularity(trace, [1000]).set_index("granularity")
    assert table["encodes"].to_dict() == {"image": 2, "request": 3}
    with pytest.raises(TraceError, match="'session' and 'turn'"):
        by_request(frame([0], [1]))


def test_chats_at_the_same_time_and_a_turn_asked_twice_are_requests_of_their_own() -> None:
    # Two chats ask for two images each, their look-ups mixed; then one asks the same turn again.
    trace = frame([0, 2, 1, 3, 0, 1], [10] * 6).assign(
        session=list("abab") + ["a", "a"], turn=1, time=0.0, outcome="miss"
    )
    assert by_request(trace)["images"].tolist() == [4, 2]  # the turn that came again is not told apart
    told = by_request(trace.assign(request=[1, 2, 1, 2, 3, 3]))
    assert told["images"].tolist() == [2, 2, 2]
    assert told["key"].tolist() == ["k0+k1", "k2+k3", "k0+k1"]


@pytest.mark.parametrize("name", WORKLOADS)
def test_requests_hold_the_images_bytes_and_seconds(name: str) -> None:
    trace = workload(name, seed=2)
    whole = by_request(trace)
    assert whole["images"].sum() == len(trace)
    assert whole["nbytes"].sum() == trace["nbytes"].sum()
    assert whole["seconds"].sum() == pytest.approx(trace["seconds"].sum())


def test_drawn_counts_and_tokens_follow_what_was_published() -> None:
    rng = np.random.default_rng(0)
    for source, one in (("servegen-mm-image", 0.8029), ("azure-lmm-2025", 0.661)):
        counts = draw("images_per_request", 50_000, rng, source=source)
        assert np.mean(counts == 1) == pytest.approx(one, abs=0.01)
        content = published(source)
        assert content["licence"] in {"Apache-2.0", "CC-BY-4.0"}
        assert content["source"].startswith("https://github.com/")
    tokens = draw("tokens_per_image", 50_000, rng)
    assert np.median(tokens) == pytest.approx(405, abs=15)
    assert (tokens.min(), tokens.max()) == (4, 1280)
    with pytest.raises(ValueError, match="does not tell tokens_per_image"):
        draw("tokens_per_image", 1, rng, source="azure-lmm-2025")


def test_bursty_arrivals_have_the_mean_and_the_spread_they_promise() -> None:
    rng = np.random.default_rng(0)
    for arrivals, cv in (("poisson", 1.0), ("bursty", 4.0)):
        times = gaps(200_000, 3.0, rng, arrivals)
        assert times.mean() == pytest.approx(3.0, rel=0.05)
        assert times.std() / times.mean() == pytest.approx(cv, rel=0.1)


def test_an_image_model_gives_the_measured_times_at_the_measured_size() -> None:
    for exponent in (1.0, 2.0):
        stages = ImageModel(exponent=exponent).stages(np.array([1564]))
        assert {name: float(seconds[0]) for name, seconds in stages.items()} == {
            "decode_s": 0.0071,
            "preprocess_s": 0.0564,
            "tower_s": 0.1098,
        }


def _run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run_simulate(parser.parse_args([*words]))


def test_the_command_prints_a_table_and_writes_csv_and_plot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "t.jsonl"
    save_trace(workload("interleaved"), path)
    csv, png = tmp_path / "o.csv", tmp_path / "o.png"
    words = [
        "--policies",
        "visioncache,gdsf",
        "--capacities",
        "20%,1GiB",
        "--csv",
        str(csv),
        "--png",
        str(png),
    ]
    assert _run(str(path), *words) == 0
    said = capsys.readouterr()
    assert "713 look-ups of 69 images" in said.out
    assert "1 GiB" in said.out
    assert "is enough for" in said.out.splitlines()[-1]
    assert "infinite: a cache that never evicts" in said.out
    assert "100%" in said.err
    head, _, rest = csv.read_text().partition("\n")
    told = json.loads(head.removeprefix("# "))
    assert told["visioncache"] == visioncache.__version__
    assert (told["trace"], told["lookups"], told["by"]) == (trace_digest(requests(path)), 713, "bytes")
    assert told["policies"] == ["visioncache", "gdsf"]
    table = pd.read_csv(io.StringIO(rest))
    assert table["policy"].unique().tolist() == ["visioncache", "gdsf", "offline-bound", "infinite"]
    with Image.open(png) as image:
        assert image.size[0] > 800
        assert json.loads(image.info["Description"]) == told
        assert len(image.convert("RGB").getcolors(10**7)) > 50


def test_the_command_counts_bad_lines_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "t.jsonl"
    save_trace(workload("loop"), path)
    path.write_text(path.read_text() + '{"v": 9}\n' * 12)
    assert _run(str(path), "-q", "--policies", "lru", "--by", "entries", "--capacities", "20") == 0
    said = capsys.readouterr().err
    assert f"{path}:421: version 9" in said
    assert said.count("version 9") == 10
    assert "12 bad lines left out" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere.jsonl"], "nowhere.jsonl: No such file"),
        (["T", "--policies", "best"], "no policy 'best'"),
        (["T", "--policies", "lru:size=3"], "'size=3' is no option of lru, which has: none"),
        (["T", "--policies", "lrfu:decay=2"], "decay=2 is not above 0 and at most 1"),
        (["T", "--png", "plot.jpeg"], "plot.jpeg: a picture's name ends in .png, .svg, .pdf"),
        (["T", "--png", "no/folder/plot.png"], "no/folder/plot.png: No such file"),
        (["T", "--csv", "no/folder/table.csv"], "no/folder/table.csv: No such file"),
        (["T", "--capacities", "much%"], "capacity 'much%'"),
        (["T", "--capacities", "much"], "much"),
        (["T", "--by", "entries", "--capacities", "few"], "capacity 'few': a whole number"),
        (["EMPTY"], "EMPTY: no line holds a look-up"),
    ],
)
def test_what_cannot_be_simulated_is_one_line(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "EMPTY").write_text("")
    save_trace(workload("loop"), tmp_path / "T")
    words = [str(tmp_path / word) if word in {"T", "EMPTY"} else word for word in words]
    assert _run("-q", *words) == 2
    error = capsys.readouterr().err
    assert error.startswith("visioncache simulate: ")
    assert said in error
    assert error.count("\n") == 1


def test_a_csv_holds_what_json_would(tmp_path: Path) -> None:
    table = replay(workload("loop"), ["lru"], [20], "entries")
    table.to_csv(tmp_path / "t.csv", index=False)
    back = pd.read_csv(tmp_path / "t.csv", dtype={"note": str}).fillna({"note": ""})
    assert json.loads(back.to_json()) == json.loads(table.reset_index(drop=True).to_json())
