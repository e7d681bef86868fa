"""The benchmark at the sizes of real models runs here too, with a layer of the real shape."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import gpu_sessions
import pytest

from visioncache.study.benchmark.result import load_result

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.usefixtures("small_shape")
def test_a_run_is_added_to_its_file_in_place_of_the_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [
        "gpu_sessions.py",
        "--session",
        "album",
        "--arms",
        "none",
        "visioncache",
        "--trials",
        "1",
        "--warm-up",
        "0",
        "--out",
        str(tmp_path),
    ]
    for size in ("56x56", "84x56", "56x56"):
        monkeypatch.setattr(sys, "argv", [*command, "--size", size])
        gpu_sessions.main()
    (path,) = tmp_path.glob("*.json")
    result = load_result(path)
    runs = result.turns.groupby(["size", "prompt_cache", "arm"]).size()
    assert len(runs) == 2 * 2 * 2
    assert (runs == 8).all()
    assert result.tokens_equal
    assert result.turns["peak_bytes"].min() > 0
