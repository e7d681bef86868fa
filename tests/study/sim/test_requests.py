"""Replays by request: what an attached model's cache does, look-up for look-up, however small it is."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Any

import cachetools
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx_vlm.prompt_utils import apply_chat_template
from mlx_vlm.utils import prepare_inputs
from PIL import Image
from traced_sessions import record_session
from traces_for_tests import asked_of, by_requests, examples, frame

from visioncache import VisionFeatureCache, attach
from visioncache.events import LOOKUPS, new_request
from visioncache.study import (
    Tier,
    enough,
    load_model,
    load_session,
    miss_ratio_curve,
    recommend,
    rerun,
    simulate_tiers,
)
from visioncache.study.sim.bounds import advise
from visioncache.study.sim.policies import run_policy
from visioncache.study.sim.recency import Recency
from visioncache.study.trace.lookups import requests
from visioncache.study.trace.traces import trace_frame

if TYPE_CHECKING:
    from collections.abc import Sequence

EVENT = ["time", "session", "turn", "request", "key", "nbytes", "outcome", "seq"]
Ask = list[list[int]]


@pytest.fixture(scope="module")
def demo() -> tuple[Any, Any]:
    return load_model()


def hits_of(recorded: pd.DataFrame) -> list[bool]:
    outcome = recorded["outcome"]
    return outcome[outcome.isin(LOOKUPS)].eq("hit").tolist()


def evictions_of(recorded: pd.DataFrame) -> int:
    return int(recorded["outcome"].eq("evict").sum())


def check_replays(recorded: pd.DataFrame, budget: int, live: pd.DataFrame) -> None:
    """Every way to replay a recording at a budget is what the live cache did with it, look-up for look-up."""
    hits, evictions = hits_of(live), evictions_of(live)
    for name in ("visioncache", "lru"):
        outcome = run_policy(name, asked_of(recorded), budget)
        assert (outcome.hits.tolist(), outcome.evictions) == (hits, evictions)
    again = rerun(recorded, max_bytes=budget)
    assert again[["key", "outcome"]].to_numpy().tolist() == live[["key", "outcome"]].to_numpy().tolist()
    served = simulate_tiers(recorded, [Tier("memory", budget)])
    assert served["lookups"].tolist() == [sum(hits), len(hits) - sum(hits)]
    assert served["evictions"][0] == evictions
    curve = miss_ratio_curve(recorded, "bytes", capacities=[budget])
    assert curve["miss_ratio"][0] == pytest.approx(1 - np.mean(hits))
    assert advise(recorded, None, budget).hit_ratio_now == pytest.approx(np.mean(hits))


def test_a_recorded_session_replayed_at_a_smaller_budget_is_that_session_held_with_it(
    demo: tuple[Any, Any],
) -> None:
    record = partial(record_session, *demo, load_session("album"), max_tokens=1)
    recorded = record()
    for budget in (16_000, 20_000, 38_000, 54_000):  # the last requests take 67,584
        check_replays(recorded, budget, record(max_bytes=budget))


def tiny_images(count: int) -> list[Image.Image]:
    """Pictures of one, two and three tokens, and so of 768 bytes each."""
    rng = np.random.default_rng(0)
    shapes = [(28, 56 + 28 * (number % 3), 3) for number in range(count)]
    return [Image.fromarray(rng.integers(0, 255, shape, np.uint8)) for shape in shapes]


def embed(model: Any, processor: Any, images: Sequence[Any]) -> None:
    """Embed a prompt that shows images, as mlx-vlm does before it generates."""
    prompt = apply_chat_template(processor, model.config, "", num_images=len(images))
    inputs = prepare_inputs(processor, images=[*images], prompts=prompt)
    ids, mask = inputs.pop("input_ids"), inputs.pop("attention_mask", None)
    model.get_input_embeddings(ids, inputs.pop("pixel_values", None), mask=mask, **inputs)


def held(demo: tuple[Any, Any], asked: Ask, budget: int | None) -> pd.DataFrame:
    """The trace of requests that an attached demo model embeds."""
    images = tiny_images(8)
    cache = VisionFeatureCache(None, budget)
    with attach(*demo, cache):
        for shown in asked:
            embed(*demo, [images[number] for number in shown])
    return trace_frame(cache.events)


def drawn(seed: int, count: int = 16) -> Ask:
    """Requests of one to four images, some of them twice."""
    rng = np.random.default_rng(seed)
    return [(rng.zipf(1.3, rng.integers(1, 5)) % 8).tolist() for _ in range(count)]


@pytest.mark.parametrize("budget", [1600, 2400, 3900, 5400])  # the largest requests take more
def test_a_recording_of_random_requests_is_replayed_as_it_was(demo: tuple[Any, Any], budget: int) -> None:
    asked = drawn(seed=budget)
    assert any(len(set(shown)) < len(shown) for shown in asked)
    recorded = held(demo, asked, budget)
    assert 0 < sum(hits_of(recorded)) < len(hits_of(recorded))
    assert evictions_of(recorded) > 0
    check_replays(recorded, budget, recorded)
    again = rerun(recorded, max_bytes=budget)
    assert again[EVENT].to_numpy().tolist() == recorded[EVENT].to_numpy().tolist()


def test_what_a_recording_recommends_is_enough_for_the_attached_model_and_less_is_not(
    demo: tuple[Any, Any],
) -> None:
    asked = [[*dict.fromkeys(shown)] for shown in drawn(seed=1)]
    recorded = held(demo, asked, None)
    for target in (0.3, 0.6):
        advice = recommend(recorded, target)
        enough, less = (hits_of(held(demo, asked, advice.max_bytes - less)) for less in (0, 1))
        assert np.mean(less) < target <= np.mean(enough) == pytest.approx(advice.hit_ratio)


def test_an_image_that_a_request_shows_twice_is_encoded_once(demo: tuple[Any, Any]) -> None:
    asked = [[0, 0, 1], [0, 0, 1]]
    recorded = held(demo, asked, None)
    assert hits_of(recorded) == [False, False, True, True, True]  # nobody asks again for what is on its way
    for budget in (100, 2000, 10_000):
        live = held(demo, asked, budget)
        hits = run_policy("visioncache", asked_of(recorded), budget).hits
        assert (~hits).sum() == live["outcome"].isin(["put", "reject"]).sum()


def test_look_ups_that_store_at_once_are_not_one_request() -> None:
    cache = VisionFeatureCache(None, 20, sizer=len)
    for turn in range(4):
        with cache.tag(session="s", turn=turn, request=new_request()):
            for name in "aba":
                cache.get_or_compute(name, lambda: "x" * 15)
    recorded = trace_frame(cache.events)
    check_replays(recorded, 20, recorded)


def test_requests_of_two_recordings_are_not_one() -> None:
    recordings = []
    for _ in range(2):
        cache = VisionFeatureCache(None, 20, sizer=len)
        with cache.tag(request=1):
            ask(cache, ["a", "b"], [15, 15])
        recordings.append(trace_frame(cache.events))
    both = pd.concat(recordings, ignore_index=True)
    assert requests(both)["batch"].nunique() == 2


def ask(cache: VisionFeatureCache, names: Sequence[str], sizes: Sequence[int]) -> list[bool]:
    """Ask a plain cache as an attached model does; tell for every image whether it needs no encode."""
    missed: dict[str, int] = {}
    served = []
    for name, size in zip(names, sizes, strict=True):
        is_there = name in missed or cache.get(name) is not None
        served.append(is_there)
        if not is_there:
            missed[name] = size
    for name, size in missed.items():
        cache._fill(name, partial(str.ljust, "", size))
    return served


@given(by_requests(), st.one_of(st.none(), st.integers(1, 8)), st.one_of(st.none(), st.integers(1, 40)))
@settings(max_examples=examples(80), deadline=None)
def test_a_replay_is_what_a_plain_cache_does_request_by_request(
    trace: pd.DataFrame, max_size: int | None, max_bytes: int | None
) -> None:
    cache = VisionFeatureCache(max_size, max_bytes, sizer=len)
    served = []
    for _, request in trace.groupby("request", sort=False):
        served += ask(cache, request["key"].tolist(), request["nbytes"].tolist())
    asked = asked_of(trace)
    run = Recency(asked).run(*(np.inf if bound is None else bound for bound in (max_bytes, max_size)))
    assert (run.outcome.hits.tolist(), run.outcome.evictions) == (served, cache.info().evictions)
    assert advise(trace, max_size, max_bytes).hit_ratio_now == pytest.approx(np.mean(served))
    if max_size is None and max_bytes is not None:
        for name in ("visioncache", "lru"):
            outcome = run_policy(name, asked, max_bytes)
            assert (outcome.hits.tolist(), outcome.evictions) == (served, cache.info().evictions)
        curve = miss_ratio_curve(trace, "bytes", capacities=[max_bytes])
        assert curve["miss_ratio"][0] == pytest.approx(1 - np.mean(served))
        tiers = simulate_tiers(trace, [Tier("memory", max_bytes)])
        assert tiers["lookups"].tolist() == [sum(served), len(served) - sum(served)]


@given(by_requests(apart=True), st.integers(1, 30), st.integers(1, 8))
@settings(max_examples=examples(60), deadline=None)
def test_of_requests_at_the_same_time_each_stores_after_its_own_look_ups(
    trace: pd.DataFrame, size: int, entries: int
) -> None:
    asked = asked_of(trace)
    held: OrderedDict[str, int] = OrderedDict()
    rows = [*trace[["key", "nbytes", "request"]].itertuples(index=False)]
    missed: dict[int, dict[str, int]] = {}
    served = []
    for number, (key, nbytes, request) in enumerate(rows):
        own = missed.setdefault(request, {})
        served.append(key in held or key in own or [key, request] in [[k, r] for k, _, r in rows[:number]])
        if key in held:
            held.move_to_end(key)
        elif not served[-1]:
            own[key] = nbytes
        if request in [row[2] for row in rows[number + 1 :]]:
            continue
        for name, needs in own.items():
            if name not in held and needs <= size:
                while sum(held.values()) + needs > size or len(held) >= entries:
                    held.popitem(last=False)
                held[name] = needs
    run = Recency(asked).run(size, entries)
    assert run.outcome.hits.tolist() == served
    for sizes, counts in ((run.sizes.first, entries), (min(run.sizes.beyond - 1, 10**6), entries)):
        assert Recency(asked).run(sizes, counts).outcome.hits.tolist() == served
    for counts in (run.entries.first, min(run.entries.beyond - 1, 10**6)):
        assert Recency(asked).run(size, counts).outcome.hits.tolist() == served
    if entries >= len(rows):
        assert run_policy("visioncache", asked, size).hits.tolist() == served


@given(by_requests(), st.integers(1, 40), st.sampled_from(["fifo", "lfu"]))
@settings(max_examples=examples(60), deadline=None)
def test_cachetools_policies_go_by_request(trace: pd.DataFrame, capacity: int, name: str) -> None:
    cache = {"fifo": cachetools.FIFOCache, "lfu": cachetools.LFUCache}[name](capacity, getsizeof=len)
    served = []
    for _, request in trace.groupby("request", sort=False):
        missed: dict[str, int] = {}
        for key, size in zip(request["key"], request["nbytes"], strict=True):
            is_there = key in missed or cache.get(key) is not None
            served.append(is_there)
            if not is_there:
                missed[key] = size
        for key, size in missed.items():
            if size <= capacity:
                cache[key] = "x" * size
    assert run_policy(name, asked_of(trace), capacity).hits.tolist() == served


@given(by_requests(), st.sampled_from([0.1, 0.5, 0.9, 1.0]), st.sampled_from(["bytes", "entries"]))
@settings(max_examples=examples(60), deadline=None)
def test_what_is_recommended_is_enough_and_one_less_is_not(
    trace: pd.DataFrame, target: float, by: Any
) -> None:
    def ratio(capacity: int, by: Any = by) -> float:
        return (
            float(run_policy("visioncache", asked_of(trace, by), capacity).hits.mean()) if capacity else 0.0
        )

    most = float(trace["key"].duplicated().mean())
    found = enough(trace, by, target)
    assert found.ceiling == pytest.approx(most)
    assert ratio(found.whole) == pytest.approx(most)
    assert ratio(found.capacity) == pytest.approx(found.hit_ratio)
    assert found.hit_ratio >= target * most - 1e-9
    if most:
        told = recommend(trace, target)
        assert told.hit_ratio == pytest.approx(ratio(told.max_bytes, "bytes"))
        assert told.hit_ratio >= min(target, most) - 1e-9 > ratio(told.max_bytes - 1, "bytes") - 2e-9


def test_a_larger_cache_may_hit_less() -> None:
    # In three entries "x" is stored last and stays; in four it was hit first and goes.
    shown = ["x", "yvw", "xyv", "z", "q", "x"]
    trace = frame([ord(name) for names in shown for name in names], [1] * sum(map(len, shown)))
    trace["request"] = [number for number, names in enumerate(shown) for _ in names]
    three, four = (run_policy("lru", asked_of(trace, "entries"), entries).hits[-1] for entries in (3, 4))
    assert (three, four) == (True, False)
