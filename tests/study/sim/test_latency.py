"""Times to first token: profiles against what they are made of, the queue, and a measured session."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from traces_for_tests import frame

from visioncache.study import measured, replay, ttft, workload
from visioncache.study.sim.latency import request_times
from visioncache.study.sim.profile import Profile, measured_turns, profiles
from visioncache.study.trace.errors import TraceError
from visioncache.study.trace.images import ImageModel

STAGES = ["decode_s", "preprocess_s", "tower_s"]
FREE = Profile(prefill_fixed_s=0.0, prefill_s_a_token=0.0, key_s=0.0, text_tokens=0)


def test_the_default_profile_is_the_measured_one() -> None:
    told, default = measured("qwen2.5-vl-3b", size="1280x960"), Profile()
    # Chat tokens round an image are part of what one more image adds to the prompt.
    assert told.image.at_tokens == pytest.approx(default.image.at_tokens, rel=0.07)
    for name in STAGES:
        assert getattr(told.image, name) == pytest.approx(getattr(default.image, name), rel=0.03)
    assert told.prefill_fixed_s == pytest.approx(default.prefill_fixed_s, rel=0.03)
    assert told.prefill_s_a_token == pytest.approx(default.prefill_s_a_token, rel=0.03)


def test_stages_grow_with_tokens_as_the_image_model_says() -> None:
    sizes = ["640x480", "1280x960", "2048x1536"]
    models = [measured("qwen2.5-vl-3b", size=size).image for size in sizes]
    tokens = np.log([model.at_tokens for model in models])
    for name in ("preprocess_s", "tower_s"):
        exponents = np.diff(np.log([getattr(model, name) for model in models])) / np.diff(tokens)
        assert ((exponents > 0.85) & (exponents < 1.15)).all(), (name, exponents)


def test_preprocessing_is_most_of_a_miss_for_smolvlm2_and_gemma_but_not_for_qwen() -> None:
    def tower(model: str) -> float:
        image = measured(model).image
        return image.tower_s / sum(getattr(image, name) for name in STAGES)

    assert tower("smolvlm2-2.2b") < 0.2
    assert tower("gemma-3-4b") < 0.3
    assert tower("qwen2.5-vl-3b") > 0.6


@pytest.mark.parametrize("model", profiles())
def test_a_simulated_session_takes_what_the_measured_one_took_within_a_quarter(model: str) -> None:
    turns = measured_turns(model)
    ours = turns[turns["arm"] == "visioncache"].groupby("turn").median(numeric_only=True)
    profile = measured(model)
    rows = [
        (1000.0 * number, f"{image}", image >= turn.images - turn.misses, turn.prompt_tokens / turn.images)
        for number, turn in enumerate(ours.itertuples())
        for image in range(int(turn.images))
    ]
    asked = pd.DataFrame(rows, columns=["time", "key", "missed", "tokens"])
    asked["seconds"] = sum(getattr(profile.image, name) for name in STAGES)
    which = pd.factorize(asked["time"])[0]
    times = request_times(asked, which, ~asked["missed"].to_numpy(bool), profile)
    assert times["ttft"].sum() == pytest.approx(ours["ttft_s"].sum(), rel=0.26)


def test_requests_wait_for_a_free_device_in_the_order_in_which_they_came() -> None:
    trace = frame([0, 1, 2, 0], [1] * 4, [2.0] * 4).assign(
        time=[0.0, 1.0, 1.5, 100.0], session="a", turn=[1, 2, 3, 4], tokens=0.0
    )
    one, two = (
        ttft(trace, "lru", [10], "entries", profile=FREE, devices=n).set_index("policy") for n in (1, 2)
    )
    # One: 0-2, 2-4, 4-6, then a hit at once. Two: 0-2, 1-3, 2-4.
    assert one.loc["none", "ttft_mean"] == pytest.approx((2 + 3 + 4.5 + 2) / 4)
    assert one.loc["lru", "ttft_mean"] == pytest.approx((2 + 3 + 4.5 + 0) / 4)
    assert two.loc["lru", "ttft_mean"] == pytest.approx((2 + 2 + 2.5 + 0) / 4)
    assert one.loc["lru", "waited"] == pytest.approx((0 + 1 + 2.5 + 0) / 4)


def test_under_load_a_cache_shortens_the_tail_by_more_than_it_saves() -> None:
    trace = workload("interleaved", seed=2, think=12.0)
    table = ttft(trace, ["visioncache"], [10**12]).set_index("policy")
    assert table.loc["visioncache", "hit_ratio"] == pytest.approx(table.loc["floor", "hit_ratio"])
    for column in ("ttft_p50", "ttft_p90", "ttft_p99", "waited", "busy"):
        assert table.loc["visioncache", column] == table.loc["floor", column] < table.loc["none", column]
    saved = table.loc["none"] - table.loc["visioncache"]
    assert saved["ttft_p99"] > saved["ttft_p50"]


def test_a_simulation_of_times_agrees_with_replay_on_hits() -> None:
    trace = workload("branches", seed=1)
    hits = replay(trace, ["gdsf", "lru"], references=False).set_index(["policy", "capacity"])["hit_ratio"]
    times = ttft(trace, ["gdsf", "lru"]).set_index(["policy", "capacity"])["hit_ratio"]
    pd.testing.assert_series_equal(times[hits.index], hits)


def test_what_times_cannot_be_simulated_of_is_told() -> None:
    with pytest.raises(TraceError, match="needs every look-up's time"):
        ttft(frame([0], [1]))
    with pytest.raises(ValueError, match="devices=0: at least 1"):
        ttft(workload("loop"), devices=0)
    with pytest.raises(ValueError, match="no measured model 'gpt'; there are: gemma-3-4b"):
        measured("gpt")
    with pytest.raises(ValueError, match="sizes: 640x480, 1280x960"):
        measured("qwen2.5-vl-3b", size="1x1")
    assert ImageModel().seconds(np.array([1564]))[0] == pytest.approx(0.1733)
