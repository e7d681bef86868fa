"""Times to first token: profiles against what they are made of, the queue, and a measured session."""

from __future__ import annotations

import argparse
import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from simulated_ttft import compare, published_latency
from traces_for_tests import frame

from visioncache.study import measured, replay, save_trace, ttft, workload
from visioncache.study.benchmark.roofline import CHIPS, QWEN25_VL_3B, Shape
from visioncache.study.data import data_path
from visioncache.study.sim.command import add_arguments, run_simulate
from visioncache.study.sim.latency import request_times
from visioncache.study.sim.profile import Profile, measured_turns, predicted, profiles
from visioncache.study.trace.errors import TraceError
from visioncache.study.trace.images import ImageModel

if TYPE_CHECKING:
    from pathlib import Path

STAGES = ["decode_s", "preprocess_s", "tower_s"]
CPU_ERROR = 0.45
"""Largest error of a sum, for the demo model: docs/results.md has each."""

COSTS = data_path("results", "image_costs")
"""Sessions of version 0.1, which the default image's seconds are taken from."""

FREE = Profile(prefill_fixed_s=0.0, prefill_s_a_token=0.0, key_s=0.0, text_tokens=0)


def test_the_default_profile_is_the_measured_one() -> None:
    told, default = measured("qwen2.5-vl-3b", size="1280x960", folder=COSTS), Profile()
    # Chat tokens round an image are part of what one more image adds to the prompt.
    assert told.image.at_tokens == pytest.approx(default.image.at_tokens, rel=0.07)
    for name in STAGES:
        assert getattr(told.image, name) == pytest.approx(getattr(default.image, name), rel=0.03)
    assert told.prefill_fixed_s == pytest.approx(default.prefill_fixed_s, rel=0.03)
    assert told.prefill_s_a_token == pytest.approx(default.prefill_s_a_token, rel=0.03)


def test_stages_grow_with_tokens_as_the_image_model_says() -> None:
    sizes = ["640x480", "1280x960", "2048x1536"]
    models = [measured("qwen2.5-vl-3b", size=size, folder=COSTS).image for size in sizes]
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


def test_simulated_sessions_are_off_by_what_the_docs_say() -> None:
    errors = [_error(model) for model in profiles()]
    assert (round(100 * min(errors)), round(100 * max(errors))) == (-24, 26)


def _error(model: str) -> float:
    """By how much a simulated session takes longer than the measured one."""
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
    return float(times["ttft"].sum() / ours["ttft_s"].sum() - 1)


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
    assert table.loc["visioncache", "hit_ratio"] == pytest.approx(table.loc["infinite", "hit_ratio"])
    for column in ("ttft_p50", "ttft_p90", "ttft_p99", "waited", "busy"):
        assert table.loc["visioncache", column] == table.loc["infinite", column] < table.loc["none", column]
    saved = table.loc["none"] - table.loc["visioncache"]
    assert saved["ttft_p99"] > saved["ttft_p50"]


def test_a_simulation_of_times_agrees_with_replay_on_hits() -> None:
    trace = workload("branches", seed=1)
    hits = replay(trace, ["gdsf", "lru"], references=False).set_index(["policy", "capacity"])["hit_ratio"]
    times = ttft(trace, ["gdsf", "lru"]).set_index(["policy", "capacity"])["hit_ratio"]
    pd.testing.assert_series_equal(times[hits.index], hits)


def test_on_a_cpu_sessions_are_simulated_within_what_the_docs_say() -> None:
    result = published_latency()
    assert result.machine["blas"].startswith("OpenBLAS")
    assert result.tokens_equal
    table = compare(result)
    assert set(table["session"]) == {"album", "branches", "page"}
    assert table["hits"].tolist() == pytest.approx(table["simulated_hits"].tolist())
    assert table["error"].between(-CPU_ERROR, 0).all()  # every sum is too low
    page = result.turns[(result.turns["session"] == "page") & (result.turns["arm"] == "visioncache")]
    fastest = page.groupby("turn")["ttft_s"].min()
    plain = result.turns[(result.turns["session"] == "page") & (result.turns["arm"] == "none")]
    later = plain[plain["turn"] > 1].groupby("turn")["ttft_s"].min().median()
    row = table[(table["session"] == "page") & (table["arm"] == "visioncache")].iloc[0]
    beyond = fastest[1] - later  # what the first turn takes beyond a miss later on
    assert (row["measured_s"] - row["simulated_s"]) / 2 < beyond < 0.1
    ours = table[table["arm"] == "visioncache"]["simulated_s"].to_numpy()
    assert (ours < table[table["arm"] == "none"]["simulated_s"].to_numpy()).all()


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


@pytest.mark.parametrize("profile", [None, "gemma-3-4b", "m4 max"])
def test_the_command_simulates_times_to_first_token(
    profile: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_trace(workload("interleaved"), tmp_path / "t")
    words = [
        *("-q", "--objective", "ttft", "--policies", "lru", "--capacities", "20%,1 GiB", "--devices", "2")
    ]
    words += ["--csv", str(tmp_path / "t.csv"), "--png", str(tmp_path / "t.png")]
    words += [] if profile is None else ["--profile", profile]
    assert _run(str(tmp_path / "t"), *words) == 0
    assert "ttft_p90" in capsys.readouterr().out
    head, _, rest = (tmp_path / "t.csv").read_text().partition("\n")
    told = json.loads(head.removeprefix("# "))
    names = {None: "qwen2.5-vl-3b", "gemma-3-4b": "gemma-3-4b", "m4 max": "M4 Max (predicted)"}
    assert (told["profile"], told["devices"]) == (names[profile], 2)
    table = pd.read_csv(io.StringIO(rest)).groupby("policy")["ttft_mean"].mean()
    assert table["infinite"] < table["lru"] < table["none"]
    assert (tmp_path / "t.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--objective", "ttft", "--value", "hit_ratio"],
            "--objective ttft has no hit_ratio; it has: ttft_p90",
        ),
        (["--objective", "ttft", "--profile", "abacus"], "no profile 'abacus'; there are: gemma-3-4b"),
        (["--objective", "ttft", "--devices", "0"], "--devices 0: at least 1"),
        (["--objective", "ttft", "--profile", "M2"], "--profile needs the tokens of every image"),
    ],
)
def test_what_the_command_cannot_simulate_times_of_is_one_line(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_trace(workload("loop").drop(columns="tokens"), tmp_path / "t")
    assert _run("-q", str(tmp_path / "t"), "--policies", "lru", *words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_predicted_profile_is_the_rooflines_of_the_models_own_shape() -> None:
    import shapes

    model = shapes.SHAPES["qwen2.5-vl-3b"].make(None)
    shape = Shape.of(model[0] if isinstance(model, tuple) else model)
    in_bfloat16 = replace(shape, tower_bytes=shape.tower_bytes / 2, language_bytes=shape.language_bytes / 2)
    assert in_bfloat16 == QWEN25_VL_3B
    chip = next(chip for chip in CHIPS if chip.name == "M4 Max")
    profile = predicted("M4 Max")
    assert profile.image.tower_s == QWEN25_VL_3B.encode(1564).seconds(chip)
    for tokens in (2000, 8000):
        exact = QWEN25_VL_3B.prefill(tokens).seconds(chip)
        assert profile.prefill_s(tokens) == pytest.approx(exact, rel=0.15)


def _run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run_simulate(parser.parse_args([*words]))
