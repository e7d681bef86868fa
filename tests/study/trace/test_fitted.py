"""The fitted generator: how near it comes to a trace, at its scale and at another; and the traces that ship."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from make_traces import MADE, RECORDED, make

from visioncache.study import (
    fit,
    fit_error,
    load_trace,
    plot_fit,
    published_trace,
    published_traces,
    replay,
    workload,
)
from visioncache.study.trace.errors import TraceError
from visioncache.study.trace.lookups import requests
from visioncache.study.trace.provenance import trace_digest

if TYPE_CHECKING:
    from pathlib import Path

FIT = {
    "catalogue": {"popularity": 0.06, "reuse": 0.08, "sizes": 0.02, "sessions": 0.0, "curve": 0.07},
    "interleaved": {"popularity": 0.01, "reuse": 0.12, "sizes": 0.0, "sessions": 0.0, "curve": 0.12},
    "screenshots": dict.fromkeys(("popularity", "reuse", "sizes", "sessions", "curve"), 0.02),
    "document": dict.fromkeys(("popularity", "reuse", "sizes", "sessions", "curve"), 0.01),
}
"""The most that a made trace may differ, over five seeds."""


@pytest.mark.parametrize("name", FIT)
def test_a_made_trace_differs_from_its_model_by_no_more_than_is_said(name: str) -> None:
    trace = workload(name)
    fitted = fit(trace)
    errors = pd.DataFrame([fit_error(trace, fitted.generate(seed)) for seed in range(5)])
    for what, most in FIT[name].items():
        assert errors[what].max() <= most + 1e-9, (what, errors[what].tolist())


def test_a_trace_that_fits_is_told_from_one_that_does_not() -> None:
    trace = workload("catalogue")
    shuffled = trace.assign(key=np.random.default_rng(0).permutation(trace["key"]))
    assert fit_error(trace, trace) == dict.fromkeys(FIT["catalogue"], 0.0)
    assert fit_error(trace, shuffled)["reuse"] > 0.0
    assert fit_error(trace, workload("catalogue", skew=0.0))["popularity"] > 0.2


def test_another_scale_has_as_many_sessions_as_asked_for_and_the_same_clients() -> None:
    trace = workload("interleaved")
    fitted = fit(trace)
    small, large = fitted.generate(0, sessions=3), fitted.generate(0, sessions=60)
    assert (small["session"].nunique(), large["session"].nunique()) == (3, 60)
    assert len(large) == 5 * len(trace)
    assert set(large["nbytes"]) == set(trace["nbytes"])
    assert large["time"].is_monotonic_increasing
    assert large.attrs["made"] == "fitted(seed=0, sessions=60)"
    with pytest.raises(ValueError, match="sessions=0: at least 1"):
        fitted.generate(0, sessions=0)


def test_the_same_seed_makes_the_same_trace_and_another_another() -> None:
    fitted = fit(workload("interleaved"))
    digests = [trace_digest(requests(fitted.generate(seed))) for seed in (1, 1, 2)]
    assert digests[0] == digests[1] != digests[2]


def test_a_trace_without_sessions_is_one_session_and_keeps_its_reuse() -> None:
    trace = pd.DataFrame({"key": list("abcabdaa"), "nbytes": [1, 2, 3, 1, 2, 4, 1, 1]})
    made = fit(trace).generate(3)
    assert fit_error(trace, made) | {"curve": 0.0} == dict.fromkeys(FIT["catalogue"], 0.0)
    assert pd.factorize(made["key"])[0].tolist() == [0, 1, 2, 0, 1, 3, 0, 0]
    with pytest.raises(TraceError, match="no look-ups"):
        fit(trace.head(0))


def test_costs_go_with_their_image() -> None:
    made = fit(workload("catalogue")).generate(0)
    assert made.groupby("key")[["nbytes", "tokens", "seconds", "tower_s"]].nunique().max().max() == 1
    assert (made["nbytes"] == 4096 * made["tokens"]).all()


def test_a_request_that_was_recorded_is_made_as_one() -> None:
    made = fit(RECORDED).generate(1)
    assert requests(made)["batch"].nunique() == requests(RECORDED)["batch"].nunique() < len(made)


def test_the_plot_says_how_far_apart_the_two_are() -> None:
    trace = workload("catalogue")
    figure = plot_fit(trace, fit(trace).generate(1))
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert len(titles) == 4
    assert titles[0].startswith("popularity: at most ")
    assert all(len(ax.get_lines()) == 2 for ax in figure.axes)


def test_every_trace_that_ships_is_loaded_by_name_and_simulates() -> None:
    assert {*MADE, "album", "report"} <= set(published_traces())
    trace = published_trace("chats-50k")
    table = replay(trace, "lru", "10 GB", references=False)
    assert 0.5 < table["hit_ratio"].item() < 1.0
    with pytest.raises(ValueError, match="no trace 'nothing'; there are: album, "):
        published_trace("nothing")


def test_the_traces_that_ship_are_made_again_and_their_card_counts_them(tmp_path: Path) -> None:
    make(tmp_path)
    card = published_traces()["chats-50k"].with_name("README.md").read_text()
    for name in MADE:
        again = load_trace(tmp_path / f"{name}.csv.gz")
        pd.testing.assert_frame_equal(again, published_trace(name))
        assert f"| `{name}` | {len(again):,} | {again['key'].nunique():,} |" in card
    # Eighty times the sessions ask for other shares of more images; an image is as large, a session as long.
    error = fit_error(RECORDED, published_trace("demo-sessions-20k"))
    assert error["sizes"] < 0.1
    assert error["sessions"] == 0.0
