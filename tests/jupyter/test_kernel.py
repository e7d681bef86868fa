"""The magics and the widget in a real kernel, through nbclient, and what an export of the notebook shows."""

from __future__ import annotations

import ast
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter

if TYPE_CHECKING:
    from collections.abc import Iterator

START = """
%load_ext visioncache
import numpy as np
from visioncache import VisionFeatureCache
from visioncache.jupyter import CacheView
cache = VisionFeatureCache(max_size=3, max_bytes="1 MiB")
for name in ("a.png", "<img src=x onerror=alert(1)>"):
    cache.put(name, np.zeros((4, 64), np.float32), label=name, seconds=0.5)
"""


class Kernel:
    """A kernel that runs cells one by one; what each of them shows."""

    def __init__(self, client: NotebookClient) -> None:
        self.client = client
        self.notebook = client.nb

    def run(self, source: str, *, fails: bool = False) -> list[dict[str, Any]]:
        """Run a cell and return its outputs."""
        cell = nbformat.v4.new_code_cell(source)
        self.notebook.cells.append(cell)
        if fails:
            cell.metadata["tags"] = ["raises-exception"]
        self.client.execute_cell(cell, len(self.notebook.cells) - 1)
        return cell.outputs

    def value(self, source: str) -> str:
        """The plain text of a cell's value."""
        return next(o.data["text/plain"] for o in self.run(source) if o.output_type == "execute_result")


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """A kernel with the extension loaded and a cache in it."""
    folder = tmp_path_factory.mktemp("kernel")
    root = str(Path(__file__).parent.parent.parent)
    saved = {name: os.environ.get(name) for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "PYTHONPATH")}
    os.environ["IPYTHONDIR"] = str(folder / "ipython")
    os.environ["JUPYTER_RUNTIME_DIR"] = str(folder / "runtime")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [root, saved["PYTHONPATH"]]))
    client = NotebookClient(
        nbformat.v4.new_notebook(),
        timeout=120,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    )
    try:
        with client.setup_kernel():
            started = Kernel(client)
            started.run(START)
            yield started
    finally:
        for name, value in saved.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


def texts(outputs: list[dict[str, Any]]) -> list[str]:
    """The plain text of outputs, of every kind."""
    return [
        output.get("text") or output["data"]["text/plain"]
        for output in outputs
        if "data" in output or "text" in output
    ]


def test_a_cell_shows_its_value_and_one_line(kernel: Kernel) -> None:
    outputs = kernel.run("%%vcache -o spent\ncache.get('a.png')\nfound = cache.get('nothing')\n'value'")
    assert [output.output_type for output in outputs] == ["execute_result", "display_data"]
    assert texts(outputs)[0] == "'value'"
    assert texts(outputs)[1].startswith("vcache: 1 hit, 1 miss, 50% hit rate, 500 ms saved")
    assert kernel.value("spent.hits, spent.misses") == "(1, 1)"


def test_await_works_in_a_cell(kernel: Kernel) -> None:
    outputs = kernel.run(
        "%%vcache\nimport asyncio\nawait asyncio.sleep(0.01)\nasyncio.get_running_loop().is_running()"
    )
    assert texts(outputs)[0] == "True"
    assert len(outputs) == 2


def test_an_interrupted_await_is_followed_by_working_cells(kernel: Kernel) -> None:
    outputs = kernel.run("%%vcache\nimport asyncio\nraise asyncio.CancelledError()", fails=True)
    assert any(output.output_type == "error" for output in outputs)
    assert texts(kernel.run("%%vcache\ncache.get('a.png');"))[0].startswith("vcache: 1 hit")


def test_an_exception_is_the_cells_output_and_the_line_follows(kernel: Kernel) -> None:
    outputs = kernel.run("%%vcache\ncache.get('a.png')\n{}['missing']", fails=True)
    assert [output.output_type for output in outputs] == ["error", "display_data"]
    assert outputs[0].ename == "KeyError"
    assert "visioncache" not in "\n".join(outputs[0].traceback)


def test_a_bad_argument_is_one_line(kernel: Kernel) -> None:
    outputs = kernel.run("%vcache fly", fails=True)
    assert [
        output.get("name", output.output_type) for output in outputs if output.output_type != "error"
    ] == ["stderr"]
    assert outputs[0].text.startswith("UsageError: %vcache has no 'fly'")
    assert outputs[0].text.count("\n") == 1


def test_a_cell_that_is_run_a_hundred_times_leaves_one_view(kernel: Kernel) -> None:
    census = (
        "import gc, threading, ipywidgets; gc.collect();"
        # A view that was told of the end of a cell may be about to send: its timers end by themselves.
        "[thread.join(20) for thread in threading.enumerate() if type(thread) is threading.Timer];"
        "(len(cache._journal.subscribers), len(ipywidgets.widgets.widget._instances),"
        " len(get_ipython().kernel.comm_manager.comms), threading.active_count())"
    )
    cell = nbformat.v4.new_code_cell("CacheView(cache)")
    kernel.notebook.cells.append(cell)
    index = len(kernel.notebook.cells) - 1
    kernel.client.execute_cell(cell, index)
    first = ast.literal_eval(kernel.value(census))
    for _ in range(100):
        kernel.client.execute_cell(cell, index)
        kernel.run("cache.get('a.png');")
        kernel.notebook.cells.pop()
    deadline = time.monotonic() + 30  # threads of the kernel's own come and go
    while (last := ast.literal_eval(kernel.value(census)))[3] > first[3] and time.monotonic() < deadline:
        time.sleep(0.5)
    assert last[:3] == first[:3]
    assert last[3] <= first[3], "views left threads"


def test_a_plot_is_shown_as_a_picture(kernel: Kernel) -> None:
    (output,) = kernel.run("%vcache plot memory")
    assert "image/png" in output.data


def test_an_export_without_widget_state_shows_the_table(kernel: Kernel) -> None:
    live, table = kernel.run("%vcache show")
    assert set(live.data) == {"application/vnd.jupyter.widget-view+json", "text/plain"}
    assert set(table.data) == {"text/html", "text/plain"}
    notebook = nbformat.v4.new_notebook(cells=[kernel.notebook.cells[-1]])
    html, _ = HTMLExporter().from_notebook_node(notebook)
    assert "Entries, most recently used first" in html
    assert "&lt;img src=x onerror=alert(1)&gt;" in html
    assert "<img src=x" not in html


def test_a_bar_is_a_widget_while_it_runs_and_a_line_in_what_is_saved(kernel: Kernel) -> None:
    (output,) = kernel.run(
        "from visioncache.progress import progress\n"
        "with progress(3, 'turn') as bar:\n"
        "    for _ in range(3):\n        bar.update()\n"
        "    running = type(bar.container).__name__"
    )
    assert kernel.value("running") == "'TqdmHBox'"
    assert set(output.data) == {"text/plain"}
    assert output.data["text/plain"].startswith("3 of 3 turns in ")
    (output, *_) = kernel.run("with progress(3, 'turn') as bar:\n    bar.update()\n    1 / 0", fails=True)
    assert output.data["text/plain"].startswith("1 of 3 turns in ")
    assert kernel.run("with progress(3, 'turn', show=False) as bar:\n    bar.update()") == []


def test_a_quiet_bench_shows_nothing(kernel: Kernel, tmp_path: Path) -> None:
    turns = [{"session": "short"}, {"ask": "What is this?", "images": ["cat.png"], "expect": "cat"}]
    (tmp_path / "short.jsonl").write_text("\n".join(map(json.dumps, turns)))
    kernel.run("from visioncache.study import load_model\nmodel, processor = load_model()")
    assert kernel.run(f"%vcache bench -q {tmp_path / 'short.jsonl'} model processor") == []
