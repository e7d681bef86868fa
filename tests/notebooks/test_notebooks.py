"""Every notebook runs from top to bottom in a real kernel, and is committed as it ran."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NAMES = sorted(path.name for path in FOLDER.glob("*.ipynb"))
SHOWN = {
    "01_tour.ipynb": (
        "mlx_vlm.vision_cache",
        f"   {'a picture, then another one at its path':50} WRONG HIT",
        f"   {'30x150 pixels, then 150x30 of one colour':50} WRONG HIT",
        f"   {'files left and right, then one named left|right':50} WRONG HIT",
        "visioncache.cache",
        f"   {'a picture, then another one at its path':50} miss",
        f"   {'30x150 pixels, then 150x30 of one colour':50} miss",
        f"   {'files left and right, then one named left|right':50} miss",
    )
}
"""Text that a notebook must show, each time it runs: wrong hits of mlx-vlm's class, and none of ours."""
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
    printed = "".join(o.get("text", "") for cell in notebook.cells for o in cell.get("outputs", []))
    assert "\n".join(SHOWN.get(name, ())) in printed


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_committed_executed_small_and_without_widget_state(name: str) -> None:
    notebook = nbformat.read(FOLDER / name, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    assert any(cell.outputs for cell in code)
    assert "widgets" not in notebook.metadata
    assert (FOLDER / name).stat().st_size < LARGEST
