"""Next versions of mlx-vlm, simulated: each ends exact, or in one clear line; and what is missing is named.

Where the table is made to say that such a version was proven, nothing is compared, and `verify` is to find it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from probe import probe
from simulated import CHANGES

HERE = Path(__file__).parent
SAMPLE = {
    "nothing",
    "llava-scale-after-projector",
    "gemma3-norm-after-projector",
    "gemma3-kwarg-renamed",
    "qwen-global-view-added",
    "qwen-tower-renamed",
    "llava-projector-inlined",
    "llava-mean-over-images",
    "qwen-fewer-pixels-for-more-images",
    "process_image-renamed",
    "pixels-copied-in-prepare_inputs",
    "pixels-by-the-prompts-length",
    "pixels-by-the-prompts-last-word",
    "features-by-a-new-keyword",
    "language-model-reads-pixels",
    "features-halved-in-long-prompts",
    "features-by-how-many-pixels-are-bright",
    "llava-a-flag-by-the-pixels",
    "prepare_inputs-flags-bright-images",
    "processor-sorts-images-by-size",
}
"""Changes that `make test` runs; `make drift` runs all of them."""
BELIEVED = {
    "nothing",
    "hardly-scaled",
    "gemma3-kwarg-renamed",
    "llava-mean-over-images",
    "qwen-fewer-pixels-for-more-images",
    "qwen-clips-large-images",
    "pixels-by-the-prompts-length",
    "projector-called-twice",
    "llava-gain-of-the-environment-by-a-function",
}
"""Changes that `make test` runs with a table that says they were proven."""


def simulated(*names: str) -> list[dict[str, Any]]:
    """Run the script on changes: in a process of its own, where mlx-vlm is imported anew for each."""
    path = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    done = subprocess.run(
        [sys.executable, str(HERE / "simulated.py"), *names],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert rows, done.stderr
    assert done.returncode == any(not row["right"] for row in rows), done.stderr
    return rows


def test_there_are_twenty_changes_over_ten_families() -> None:
    assert len(CHANGES) >= 20
    assert len({family for change in CHANGES for family in change.families}) >= 10
    assert len({change.name for change in CHANGES}) == len(CHANGES)


@pytest.mark.parametrize("name", ["llava", "youtu_vl"])  # with a processor, and without: the tool probes all
def test_the_probe_agrees_with_the_table_that_it_wrote(name: str) -> None:
    assert probe(name).line == "exact"


@pytest.mark.skipif("VISIONCACHE_DRIFT" in os.environ, reason="all changes are run, these among them")
def test_a_sample_of_changes_ends_exact_or_in_one_clear_line() -> None:
    rows = simulated(*sorted(SAMPLE))
    assert {row["change"] for row in rows} == SAMPLE
    assert not [row for row in rows if not row["right"]]
    missing = [
        row["line"] for row in rows if row["change"] in ("process_image-renamed", "qwen-tower-renamed")
    ]
    assert all("mlx-vlm 0.7.99 has no `" in line and "pip install 'mlx-vlm==0.7." in line for line in missing)


@pytest.mark.skipif(
    "VISIONCACHE_DRIFT" not in os.environ, reason="`make drift` runs all; a sample runs above"
)
@pytest.mark.parametrize("name", [change.name for change in CHANGES])
def test_every_change_ends_exact_or_in_one_clear_line(name: str) -> None:
    rows = simulated(name)
    assert {row["change"] for row in rows} == {name}
    assert not [row for row in rows if not row["right"]]


@pytest.mark.skipif("VISIONCACHE_DRIFT" in os.environ, reason="all changes are run, these among them")
def test_verify_finds_a_sample_of_changes_that_the_table_believes() -> None:
    rows = simulated("--believed", *sorted(BELIEVED))
    assert {row["change"] for row in rows} == BELIEVED
    assert not [row for row in rows if not row["right"]]
    assert {row["ending"] for row in rows} >= {"exact", "refused", "WRONG"}


@pytest.mark.skipif(
    "VISIONCACHE_DRIFT" not in os.environ, reason="`make drift` runs all; a sample runs above"
)
@pytest.mark.parametrize("name", [change.name for change in CHANGES])
def test_verify_finds_every_change_that_the_table_believes(name: str) -> None:
    rows = simulated("--believed", name)
    assert {row["change"] for row in rows} == {name}
    assert not [row for row in rows if not row["right"]]
