"""Statistics of the study: intervals cover what they say, and the docs say no more than the tables."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from doc_pages import ROOT
from PIL import Image

from visioncache.cli import main
from visioncache.study import load_result, load_trace, replay, ttft, workload
from visioncache.study.data import data_path
from visioncache.study.sim import gains
from visioncache.study.sim.capacities import working_set_shares
from visioncache.study.sim.gains import interval
from visioncache.study.sim.studied import (
    LARGE,
    SMALL,
    by_seed,
    comparable,
    computed_again,
    intervals,
    studied,
)
from visioncache.study.trace.errors import TraceError
from visioncache.study.trace.lookups import requests
from visioncache.study.trace.provenance import files_told, trace_digest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

sys.path.append(str(ROOT / "tools"))

import draw_results
import study_hit_rates


def _covers(draw: Callable[[np.random.Generator], np.ndarray], truth: float, samples: int = 300) -> float:
    """How often the interval of nine workloads of 20 seeds holds the mean that they were drawn with."""
    rng, found = np.random.default_rng(0), 0
    names, seeds = np.repeat([f"w{i}" for i in range(9)], 20), np.tile(np.arange(20), 9)
    for sample in range(samples):
        values = np.repeat(draw(rng), 20) + rng.normal(0, 1, 180)
        table = pd.DataFrame({"workload": names, "seed": seeds, "gain": values})
        _, low, high = interval(table, "gain", seed=sample)
        found += low <= truth <= high
    return found / samples


def test_an_interval_of_nine_workloads_covers_about_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gains, "RESAMPLES", 600)

    def evenly(rng: np.random.Generator) -> np.ndarray:
        return rng.normal(0, 5, 9)

    assert _covers(evenly, 0.0) > 0.92
    monkeypatch.setattr(gains, "_expanded_tail", lambda tail, count: tail)
    assert _covers(evenly, 0.0) < 0.91  # as percentiles alone do


def test_tails_are_students() -> None:
    # t(8) at 97.5 % is 2.306, times sqrt(9/8) is 2.446: the normal leaves 0.722 % beyond.
    assert gains._expanded_tail(0.025, 9) == pytest.approx(0.00722, rel=0.01)
    assert gains._expanded_tail(0.025, 1) == 0.025
    assert gains._expanded_tail(0.025, 10**6) == pytest.approx(0.025, rel=0.001)


def test_a_stricter_level_is_wider() -> None:
    table = pd.DataFrame({"workload": list("abcdefghi"), "seed": 0, "gain": np.arange(9.0)})
    mean, low, high = interval(table, "gain")
    _, lower, higher = interval(table, "gain", level=1 - 0.05 / 8)
    assert lower < low < mean < high < higher


@pytest.mark.parametrize("name", ["gains", "granularity"])
def test_the_studys_tables_say_which_traces_they_are_of(name: str) -> None:
    head = data_path("results", "hit_rates", f"{name}.csv").read_text().partition("\n")[0]
    told = json.loads(head.removeprefix("# "))
    assert {"visioncache", "policies", "shares", "workloads", "seeds"} <= set(told)
    assert told["seeds"] == 20
    for workload_name, options in study_hit_rates.STUDIED.items():
        digests = told["traces"][workload_name]
        assert len(digests) == 20
        for seed in (0, 19):
            trace = workload(workload_name.split(",")[0], seed, **options)
            assert digests[seed] == trace_digest(requests(trace))


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", draw_results.CHARTS)
def test_charts_of_the_docs_say_what_they_are_made_of(name: str, theme: str) -> None:
    with Image.open(ROOT / "docs" / f"{name}-{theme}.png") as image:
        told = json.loads(image.info["Description"])
    text = json.dumps(told)
    assert "visioncache" in text
    assert "trace" in text or "files" in told


def test_the_demos_chart_is_of_the_machine_that_the_page_names() -> None:
    result = load_result(data_path("results", "demo", "demo-vlm.json"))
    page = " ".join((ROOT / "docs" / "results.md").read_text().split())
    machine = result.machine
    assert f"on {machine['cores']} cores of {machine['chip']}, with the {machine['blas']}:" in page
    assert result.tokens_equal
    with Image.open(ROOT / "docs" / "demo-light.png") as image:
        told = json.loads(image.info["Description"])
    assert told["files"] == files_told([data_path("results", "demo", "demo-vlm.json")])["files"]


def test_what_the_docs_say_of_lru_and_min_in_the_recorded_sessions() -> None:
    trace = load_trace(sorted(data_path("sessions", "traces").glob("*.jsonl")))
    with Image.open(ROOT / "docs" / "hit-rates-light.png") as image:
        told = json.loads(image.info["Description"])
    table = replay(trace, told["policies"], told["capacities"], "entries")
    assert table.attrs["trace"] == told["trace"]
    assert told["capacities"] == working_set_shares(trace, "entries", gains.SHARES)
    hits = 100 * table.pivot_table(index="capacity", columns="policy", values="hit_ratio")
    behind = hits["belady"] - hits["visioncache"]
    assert behind.max() < 8
    assert behind[behind.index < told["images"] / 4].max() < 4
    assert (hits[["fifo", "gdsf"]].max(axis=1) - hits["visioncache"]).max() < 2
    able = comparable(studied("gains"))
    small = able[(able["policy"] == "random") & (able["capacity"] == SMALL)]
    assert [f"{value:.1f}" for value in interval(small, "gain")] == ["-3.0", "-6.8", "-0.5"]


def test_a_published_interval_is_that_of_the_table() -> None:
    gains_told = studied("gains")
    assert gains_told.attrs["seeds"] == 20
    able = comparable(gains_told)
    assert able["gain"].notna().all()
    assert not able.duplicated(["workload", "seed", "share", "policy"]).any()
    assert (able["capacity"] == LARGE).equals(able["share"] > 0.2)
    table = intervals(able, "gain", ["policy", "capacity"], "{:+.1f}")
    assert list(table.columns) == [SMALL, LARGE]
    mean, low, high = interval(able[(able["policy"] == "gdsf") & (able["capacity"] == LARGE)], "gain")
    assert table.loc["gdsf", LARGE] == f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"
    saved = studied("granularity")
    half = saved[(saved["workload"] == "album") & (saved["share"] == 0.5)]["saved"]
    written = by_seed(saved, "saved", "workload", "share").loc["album", 0.5]
    assert written.startswith(f"{half.median():.0f} [")
    assert list(intervals(saved, "saved", ["share"]).index) == [0.25, 0.5, 1.0]


def test_a_published_table_that_comes_out_otherwise_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert computed_again(["loop"])["same"].tolist() == [True, True]
    wrong = {name: studied(name) for name in ("gains", "granularity")}
    wrong["gains"]["saved"] += 0.1
    monkeypatch.setattr("visioncache.study.sim.studied.studied", wrong.__getitem__)
    assert computed_again(["loop"])["same"].tolist() == [False, True]


def test_seconds_that_nobody_told_are_not_said_to_be_saved() -> None:
    trace = workload("album", turns=6).drop(columns=["seconds", "decode_s", "preprocess_s", "tower_s"])
    with pytest.raises(TraceError, match="no look-up tells what a miss costs"):
        ttft(trace, "lru")


def test_the_commands_value_is_refused_where_there_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.csv").write_text("key,size\na,1\na,1\n")
    words = ["simulate", str(tmp_path / "t.csv"), "-q", "--policies", "lru", "--value", "seconds_saved"]
    assert main(words) == 2
    assert "no look-up tells what a miss costs in seconds" in capsys.readouterr().err
