"""Published results: read back, compared with the arms of the same run, and each from a named chip."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from visioncache.study.data import data_path
from visioncache.study.published import plot_results, published_results
from visioncache.study.result import BenchResult, load_result

if TYPE_CHECKING:
    from pathlib import Path


def turn(arm: str, number: int, ttft: float, misses: int) -> dict[str, Any]:
    return {
        "size": "8x6",
        "session": "s",
        "arm": arm,
        "trial": 0,
        "turn": number,
        "prompt_cache": False,
        "ttft_s": ttft,
        "hits": 1 - misses,
        "misses": misses,
        "encodes": misses,
        "correct": None,
        "held_bytes": 5,
        "peak_bytes": 9,
        "tokens_equal": True,
    }


def test_sums_are_set_against_the_arms_of_the_same_run(tmp_path: Path) -> None:
    seconds = {"mlx-vlm": (4.0, 4.0), "visioncache": (3.0, 1.2), "bound": (1.0, 1.0)}
    rows = [turn(arm, n + 1, s, int(n == 0)) for arm, both in seconds.items() for n, s in enumerate(both)]
    BenchResult(pd.DataFrame(rows), {"chip": "some chip"}, "m").save(tmp_path / "r.json")
    table = published_results(tmp_path).set_index("arm")
    ours = table.loc["visioncache"]
    assert ours["of_mlx_vlm"] == pytest.approx(4.2 / 8)
    assert ours["of_bound"] == pytest.approx(4.2 / 2)
    assert ours["hits_of_bound"] == pytest.approx(1.2)  # the second turn alone found every image
    assert table.loc["bound", "of_bound"] == 1
    assert ours["chip"] == "some chip"


def test_a_session_without_results_is_named() -> None:
    with pytest.raises(ValueError, match="no results of session 'scenes'.*: album, page_chat"):
        plot_results(published_results(), "scenes")


def test_a_folder_without_results_is_an_empty_table(tmp_path: Path) -> None:
    assert published_results(tmp_path).empty


def test_what_is_published_names_its_chip_and_gave_the_same_tokens() -> None:
    paths = list(data_path("results", "sessions").glob("*.json"))
    assert paths
    assert all(load_result(path).machine["chip"] for path in paths)
    table = published_results()
    assert table["tokens_equal"].all()
    ours = table[(table["arm"] == "visioncache") & (table["session"] == "album")]
    assert (ours["encodes"] == 4).all()
