"""Share a real shell, a real JupyterLab and a real Chromium among the tests of the Jupyter surface."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lab as lab_tool
import pytest
from IPython.core.interactiveshell import InteractiveShell
from scenes import require
from traitlets.config import Config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[InteractiveShell]:
    """A fresh IPython with the extension loaded, and nothing of the user's."""
    config = Config()
    config.HistoryManager.enabled = False
    config.TerminalInteractiveShell.simple_prompt = True
    InteractiveShell.clear_instance()
    ipython = InteractiveShell.instance(config=config, ipython_dir=str(tmp_path / "ipython"))
    ipython.colors = "nocolor"
    ipython.run_line_magic("load_ext", "visioncache")
    yield ipython
    ipython.run_line_magic("unload_ext", "visioncache")
    InteractiveShell.clear_instance()


@pytest.fixture(scope="session")
def demo_pair() -> tuple[Any, Any]:
    """The demo model, a real Qwen2.5-VL, and its processor."""
    from visioncache.study.benchmark.demo import load_model

    return load_model()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    require("chromium")
    with lab_tool.chromium() as found:
        yield found


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of its own, whose script errors fail the test."""
    context = browser.new_context(viewport={"width": 1100, "height": 900})
    opened = context.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    context.close()
    assert not errors, errors


@pytest.fixture(scope="session")
def lab(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[lab_tool.Lab]:
    """A running JupyterLab."""
    with lab_tool.lab(tmp_path_factory.mktemp("lab") / "lab") as running:
        yield running
