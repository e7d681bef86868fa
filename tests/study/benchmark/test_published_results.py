"""Published results: read back, compared with the arms of the same run, and each from a named chip."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from published import (
    plot_results,
    prefixes_shown,
    published_bits,
    published_first_looks,
    published_results,
    sessions_shown,
)

from visioncache.study.benchmark.result import BenchResult, load_result
from visioncache.study.data import data_path

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


def test_tables_to_be_read_have_one_row_of_headers_with_units_and_the_published_numbers() -> None:
    results = published_results()
    shown = sessions_shown(results)
    assert shown.columns.nlevels == shown.index.nlevels == 1
    assert all(name.endswith(", s") for name in shown.columns[3:-1])
    album = shown[shown["session"] == "album"].set_index(["model", "photographs"])
    assert album.loc["qwen2.5-vl-3b"].index.tolist() == ["640x480", "1280x960", "2048x1536"]
    run = results[~results["prompt_cache"] & (results["session"] == "album") & (results["arm"] == "none")]
    expected = run.set_index(["model", "size"])["ttft_s"].to_dict()
    assert album["no cache, s"].to_dict() == pytest.approx(expected)
    kept = prefixes_shown()["album, qwen2.5-vl-7b, 1280x960"]
    page = data_path("results", "prefixes", "README.md").read_text(encoding="utf-8")
    for name in ("visioncache", "visioncache with prefixes", "new tokens alone (floor)"):
        assert f"| {kept[name]} |" in page
    assert kept["no cache"] == "not measured"


def test_the_second_run_with_prefixes_is_told_as_it_is_filed() -> None:
    folder = data_path("results", "prefixes")
    page = (folder / "README.md").read_text(encoding="utf-8").partition("## Again")[2]
    again = prefixes_shown(folder / "again")
    album, scan = "album, qwen2.5-vl-7b, 1280x960", "page, qwen2.5-vl-3b, 2048x1536"
    bound, ours = "language model alone (bound)", "visioncache with prefixes"
    for arm in ("visioncache", bound, ours):
        assert f"| {' | '.join(again.loc[arm, [album, scan, 'branches, qwen2.5-vl-3b, 1280x960']])} |" in page
    seconds = again.map(lambda said: float(said.split()[0]) if said.endswith(" s") else 0.0)
    of_bound = seconds.loc[ours] / seconds.loc[bound]
    assert f"The album takes {of_bound[album]:.2f} of `bound` and the page {of_bound[scan]:.2f};" in page


def test_a_session_without_results_is_named() -> None:
    with pytest.raises(
        ValueError, match="no results of session 'scenes'.*: album, branches, page, page_chat"
    ):
        plot_results(published_results(), "scenes")


@pytest.mark.parametrize("read", [published_bits, published_first_looks])
@pytest.mark.parametrize("text", ["no JSON", "[]", "{}", '{"turns": [], "runs": [{}]}'])
def test_a_file_that_is_something_else_is_named(read: Any, text: str, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(ValueError, match=r"other\.json is not what benchmarks/ writes there"):
        read(tmp_path)


def test_a_folder_without_results_is_an_empty_table(tmp_path: Path) -> None:
    assert published_results(tmp_path).empty


def test_what_is_published_names_its_chip_and_gave_the_same_tokens() -> None:
    paths = list(data_path("results", "sessions").glob("*.json"))
    assert paths
    assert all(load_result(path).machine["chip"] for path in paths)
    table = published_results()
    differing = set()
    for path in paths:
        turns = load_result(path).turns
        others = turns[~turns["tokens_equal"]]
        assert (others["images"] > 1).all()  # a batch without a cache, one by one with it
        differing |= {
            (path.stem[-12:], *row)
            for row in zip(others["size"], others["session"], others["turn"], strict=True)
        }
    named = {
        ("llava-1.5-7b", "1280x960", "album", 8),
        ("wen2.5-vl-3b", "640x480", "album", 8),
        ("wen2.5-vl-3b", "2048x1536", "album", 7),
        ("wen2.5-vl-3b", "2048x1536", "album", 8),
    }
    assert differing == named, "docs/results.md names them"
    ours = table[(table["arm"] == "visioncache") & (table["session"] == "album")]
    assert (ours["encodes"] == 4).all()


def test_what_is_the_same_is_a_row_a_model_and_size() -> None:
    table = published_bits().set_index(["model", "attention", "size", "session"])
    ours = table.loc[("qwen3-vl-4b", "same", "1280x960", "album")]
    assert (ours["single_as_none"], ours["several_as_none"]) == (ours["single"], ours["several"]) == (2, 6)
    assert ours["given_repeats"] == ours["logits_repeat"] == 8
    assert ours["logits_apart"] == 0
    as_mlx_picks = table.loc[("qwen3-vl-4b", "any", "1280x960", "album")]
    assert (as_mlx_picks["single_as_none"], as_mlx_picks["several_as_none"]) == (2, 6)
    assert as_mlx_picks["given_repeats"] == 8
    assert as_mlx_picks["logits_repeat"] < 8
    assert as_mlx_picks["logits_apart"] > 0


def test_first_looks_are_a_row_a_model_and_size() -> None:
    table = published_first_looks()
    assert not table.duplicated(["chip", "model", "size"]).any()
    sizes = table.loc[table["model"] == "qwen2.5-vl-3b", "size"].tolist()
    assert sizes == ["640x480", "1280x960", "2048x1536"]
    assert table["pairs"].min() >= 32
