"""The hit-rate notebook: it runs, soon enough, and says what is printed in it."""

from __future__ import annotations

import base64
import io
import json
import re
import time
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from PIL import Image
from traces_for_tests import HAS_LIBCACHESIM

from visioncache.study import rerun
from visioncache.study.benchmark.sessions import load_session, session_names
from visioncache.study.data import data_path
from visioncache.study.trace.traces import load_trace

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "05_hit_rates.ipynb"


def _said(cell: nbformat.NotebookNode) -> str:
    """Join what a cell printed and returned, however the kernel cut it into messages."""
    outputs = cell["outputs"]
    printed = "".join(o["text"] for o in outputs if o["output_type"] == "stream" and o["name"] == "stdout")
    return printed + "".join(o["data"]["text/plain"] for o in outputs if o["output_type"] == "execute_result")


def test_it_runs_in_three_minutes_and_its_seeded_numbers_come_out_again() -> None:
    committed = nbformat.read(NOTEBOOK, as_version=4)
    fresh = nbformat.read(NOTEBOOK, as_version=4)
    start = time.perf_counter()
    NotebookClient(fresh, timeout=180, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    assert time.perf_counter() - start < 180
    seeded = [
        (old, new)
        for old, new in zip(committed.cells, fresh.cells, strict=True)
        if "seeded" in old.metadata.get("tags", [])
        and (HAS_LIBCACHESIM or "policies" not in old.metadata["tags"])
    ]
    assert len(seeded) >= 7
    for old, new in seeded:
        assert _said(new) == _said(old) != ""


def test_it_is_committed_as_executed_small_and_without_widgets() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert NOTEBOOK.stat().st_size < 500_000
    assert "widgets" not in notebook.metadata
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]
    assert sum("image/png" in o.get("data", {}) for o in outputs) == 3


INTERVAL = re.compile(r"\[[-+]?\d+(?:\.\d+)?, [-+]?\d+(?:\.\d+)?\]")


def test_every_interval_that_is_told_is_one_that_was_computed() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    printed = "".join(_said(cell) for cell in notebook.cells if cell.cell_type == "code")
    told = [
        found
        for cell in notebook.cells
        if cell.cell_type == "markdown"
        for found in INTERVAL.findall(cell.source)
    ]
    assert len(told) >= 9
    assert not [found for found in told if found not in printed]


def test_findings_come_first_with_their_intervals() -> None:
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert len(INTERVAL.findall(cells[0].source)) >= 6
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    assert len(code[0].splitlines()) <= 6  # the question, the findings, and one short call
    assert max(len(source.splitlines()) for source in code) <= 10


def test_every_picture_says_which_tables_it_is_of() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    pictures = [output["data"]["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    for picture in pictures:
        with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
            tables = json.loads(image.info["Description"])
        assert tables
        for told in tables.values():
            assert told["visioncache"]
            assert told.get("trace") or told["traces"]


@pytest.mark.parametrize("name", session_names())
def test_a_shipped_recording_run_again_is_the_recording(name: str) -> None:
    recorded = load_trace(data_path("sessions", "traces", f"{name}.jsonl"))
    again = rerun(recorded, max_size=load_session(name).max_size)
    columns = ["time", "turn", "key", "nbytes", "seconds", "outcome"]
    assert again[columns].to_numpy().tolist() == recorded[columns].to_numpy().tolist()
