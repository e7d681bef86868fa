"""Every notebook runs from top to bottom in a real kernel, and is committed as it ran."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NAMES = sorted(path.name for path in FOLDER.glob("*.ipynb"))
LARGEST = 1_000_000
"""Bytes of a committed notebook."""


# 05 is run, within its time, by tests/study.
@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("05")])
def test_a_notebook_runs_from_top_to_bottom(name: str) -> None:
    notebook = nbformat.read(FOLDER / name, as_version=4)
    NotebookClient(notebook, timeout=500, resources={"metadata": {"path": str(FOLDER)}}).execute()
    errors = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.output_type == "error"
    ]
    assert not errors


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_committed_executed_small_and_without_widget_state(name: str) -> None:
    notebook = nbformat.read(FOLDER / name, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    assert any(cell.outputs for cell in code)
    assert "widgets" not in notebook.metadata
    assert (FOLDER / name).stat().st_size < LARGEST


def test_the_tour_shows_wrong_hits_and_ours_right() -> None:
    notebook = nbformat.read(FOLDER / "01_tour.ipynb", as_version=4)
    text = "".join(o.get("text", "") for c in notebook.cells for o in c.get("outputs", []))
    assert "mlx_vlm.vision_cache         the cat: cat      then the rocket: cat" in text
    assert "visioncache.cache            the cat: cat      then the rocket: rocket" in text
    assert "mlx_vlm.vision_cache         a blue image, asked for its colour: red" in text
    assert "visioncache.cache            a blue image, asked for its colour: blue" in text
