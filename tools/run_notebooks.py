"""Run notebooks from top to bottom and keep what they show: python tools/run_notebooks.py [01_tour ...]."""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from tqdm import tqdm

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"


def main() -> None:
    """Run those that are named, or all."""
    names = sys.argv[1:] or sorted(path.stem for path in FOLDER.glob("*.ipynb"))
    for name in tqdm(names):
        path = (FOLDER / name).with_suffix(".ipynb")
        notebook = nbformat.read(path, as_version=4)
        # Widgets show their static tables where no kernel runs; their state would be of no use.
        client = NotebookClient(
            notebook, timeout=600, store_widget_state=False, resources={"metadata": {"path": str(FOLDER)}}
        )
        client.execute()
        # A progress bar is kept as it ended, not as it grew.
        notebook, _ = CoalesceStreamsPreprocessor().preprocess(notebook, {})
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)
        nbformat.write(notebook, path)


if __name__ == "__main__":
    main()
