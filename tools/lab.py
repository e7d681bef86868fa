"""A JupyterLab of its own and a headless Chromium to look at it: for tests and for screenshots."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-quic",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
]

SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
}
QUIET_WORK = {
    "OPENBLAS_NUM_THREADS": "1",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}


def chromium_path() -> str | None:
    """The Chromium of this machine: what `CHROMIUM` names, or the system's; None when there is none."""
    named = os.environ.get("CHROMIUM")
    return named or shutil.which("chromium") or shutil.which("chromium-browser")


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # What is preloaded to make Python faster is not Chromium's.
        own = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=CHROMIUM_FLAGS, env=own)
        try:
            yield browser
        finally:
            browser.close()


class Lab:
    """A running JupyterLab; `write` puts a notebook there, `open` shows it in a page."""

    def __init__(self, folder: Path, url: str, token: str) -> None:
        self.folder = folder
        self.url = url
        self.token = token

    def write(self, name: str, *cells: str) -> None:
        """Write a notebook of code cells."""
        import nbformat  # which takes a second, in tests that write none too

        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        notebook.metadata["kernelspec"] = {
            "name": "python3",
            "display_name": "Python 3",
            "language": "python",
        }
        nbformat.write(notebook, self.folder / name)

    def open(self, page: Page, name: str, *, theme: str = "light") -> None:
        """Show a notebook, alone in the page, with its kernel ready."""
        page.goto(f"{self.url}/doc/tree/{name}?token={self.token}&reset")
        page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
        page.wait_for_function("window.jupyterapp !== undefined")
        self.theme(page, theme)
        page.wait_for_function(
            """() => {
                const context = window.jupyterapp.shell.currentWidget?.context;
                return context?.sessionContext?.session?.kernel?.status === 'idle';
            }""",
            timeout=60_000,
        )

    @staticmethod
    def command(page: Page, name: str, args: dict[str, Any] | None = None) -> None:
        """Run a command of JupyterLab."""
        page.evaluate("([name, args]) => window.jupyterapp.commands.execute(name, args)", [name, args or {}])

    def theme(self, page: Page, theme: str) -> None:
        """Switch to JupyterLab's light or dark theme."""
        self.command(page, "apputils:change-theme", {"theme": f"JupyterLab {theme.capitalize()}"})
        light = "true" if theme == "light" else "false"
        page.wait_for_selector(f"body[data-jp-theme-light='{light}']", state="attached")

    def run_all(self, page: Page) -> None:
        """Run every cell and wait until all have ended."""
        self.command(page, "notebook:run-all-cells")
        self.wait_idle(page)

    @staticmethod
    def wait_idle(page: Page) -> None:
        """Wait until no cell runs or waits."""
        page.wait_for_function(
            """() => [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].every(
                prompt => !prompt.textContent.includes('*') )""",
            timeout=300_000,
        )


@contextmanager
def lab(folder: Path) -> Iterator[Lab]:
    """A JupyterLab on this machine only, with all that it reads and writes under `folder`."""
    work = folder / "work"
    work.mkdir(parents=True)
    settings = folder / "settings"
    for name, content in SETTINGS.items():
        package, _, plugin = name.partition(":")
        target = settings / package / f"{plugin}.jupyterlab-settings"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(content))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    own = {
        name: str(folder / name.lower())
        for name in ("HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    }
    root = str(Path(__file__).parent.parent)
    python_path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}"),
        *(f"--IdentityProvider.token={token}", "--ServerApp.port_retries=0", "--allow-root"),
        *(f"--ServerApp.root_dir={work}", f"--LabApp.user_settings_dir={settings}"),
        *(f"--LabApp.workspaces_dir={folder / 'workspaces'}", "--expose-app-in-browser"),
        *("--LabApp.news_url=", "--LabApp.extension_manager=readonly", "--log-level=ERROR"),
    ]
    environment = {**os.environ, **QUIET_WORK, **own, "PYTHONPATH": python_path}
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)  # noqa: S603
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(server, f"{url}/api/status?token={token}", folder / "server.log")
        yield Lab(work, url, token)
    finally:
        server.terminate()
        try:
            server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait_for(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310  # our own server
                return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")
