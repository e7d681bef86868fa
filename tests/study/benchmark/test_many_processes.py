"""Processes that share a store: run for real, with two of them; and what is published of eight."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from typing import Any

import pytest
from doc_pages import ROOT
from shared_stores import fate, published_processes, summary

from visioncache.study.data import data_path

SCRIPT = ROOT / "benchmarks" / "many_processes.py"


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run the script with two processes and few conversations, and read what it wrote."""
    if not (shutil.which("redis-server") or shutil.which("valkey-server")):
        pytest.skip("no server is installed: apt install redis-server, or brew install redis")
    folder = tmp_path_factory.mktemp("processes")
    command = [sys.executable, str(SCRIPT), "--processes", "2", "--conversations", "8", "--trials", "1"]
    subprocess.run([*command, "--out", str(folder)], check=True, stdout=subprocess.DEVNULL, timeout=300)
    (path,) = folder.glob("*.json")
    return json.loads(path.read_text())


def test_two_processes_that_share_a_store_encode_less_and_answer_the_same(of_two: dict[str, Any]) -> None:
    table = summary(of_two).set_index("arm")
    assert table["tokens_equal"].all()
    assert list(table.index) == ["none", "memory", "folder", "server", "server killed"]
    for arm in ("folder", "server"):
        # One more where both miss the same picture at once.
        assert table.loc[arm, "images"] <= table.loc[arm, "encodes"] < table.loc["memory", "encodes"]
        assert table.loc[arm, "store"] > 0
        assert 0 < table.loc[arm, "store_p50"] <= table.loc[arm, "store_p99"]
    assert table.loc["memory", "store"] == 0


def test_a_server_that_dies_in_the_middle_is_misses_and_no_error(of_two: dict[str, Any]) -> None:
    table = fate(of_two)
    assert len(table) == 2
    assert (table[["before", "after"]].sum(axis=1) == 24).all()
    assert table["tokens_equal"].all()
    assert (table["exceptions"] == 0).all()
    assert table["store_errors"].sum() > 0
    assert table["warnings"].max() <= 2  # one a kind of fault: a look-up, a write
    (run,) = (run for run in of_two["runs"] if run["arm"] == "server killed")
    for kernel in run["kernels"]:
        dead = [
            where
            for start, lookups in zip(kernel["start_s"], kernel["lookups"], strict=True)
            for where, _ in lookups
            if start > run["killed_s"]
        ]
        assert "store" not in dead


def test_what_is_published_of_processes_says_how_it_was_made() -> None:
    content = published_processes()
    assert content["script"] == SCRIPT.name
    assert re.fullmatch(r"[0-9a-f]{12}", content["commit"]), "run it on a tree without changes"
    assert content["machine"]["chip"]
    assert content["arguments"]["processes"] == [2, 4, 8]
    assert len(list(data_path("results", "processes").glob("*.json"))) == 1, "a page shows one machine"


def test_the_page_says_what_the_published_processes_did() -> None:
    """Each sentence of docs/explanation/processes.md that is no figure of a table."""
    page = (ROOT / "docs" / "explanation" / "processes.md").read_text()
    said = " ".join(page.split())
    content = published_processes()
    table, fates = summary(content), fate(content)
    assert "Every process gave the same answers" in said
    assert table["tokens_equal"].all()
    assert "**No exception reaches a cell.**" in page
    assert (fates["exceptions"] == 0).all()
    assert "hits in the store end" in said
    assert fates["tokens_equal"].all()
    assert "Each process warns once for each kind of fault" in said
    assert fates["warnings"].max() <= 2
    assert "With a store there are a few encodes more than pictures" in said
    stored = table[table["arm"].isin(["folder", "server"])]
    assert (stored["encodes"] >= stored["images"]).all()
    assert (stored["encodes"] <= stored["images"] + 2 * stored["processes"]).all()
    assert "twelve conversations of three turns" in said
    assert content["arguments"]["conversations"] == 12
    rows = re.findall(r"^\| (\d) \| memory, server \| [\d.]+ \| \d+ \| (\d+) \|", page, re.MULTILINE)
    encodes = stored[stored["arm"] == "server"].set_index("processes")
    assert {int(n): int(count) for n, count in rows} == encodes["encodes"].to_dict()
