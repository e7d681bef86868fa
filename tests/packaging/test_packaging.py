"""Facts that are declared twice agree, and importing costs little."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_environment_yml_installs_what_pyproject_declares() -> None:
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    extras = text.partition("-e .[")[2].partition("]")[0].split(",")
    assert set(extras) <= set(PROJECT["optional-dependencies"])
    assert f"python{PROJECT['requires-python']}" in text


def test_the_makefile_installs_extras_that_exist() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    extras = text.partition("-e '.[")[2].partition("]")[0].split(",")
    assert set(extras) <= set(PROJECT["optional-dependencies"])


def test_markers_are_read_on_a_linux_whose_kernel_has_no_version_of_pep_440() -> None:
    """Read by pip 24.1 to 25, which Python 3.13 brings, a kernel on the left ends in a traceback."""
    optional = PROJECT["optional-dependencies"].values()
    for requirement in [*PROJECT["dependencies"], *(one for extra in optional for one in extra)]:
        assert not re.search(r"platform_release\s*[<>=!~]", requirement), requirement


@pytest.mark.slow
def test_a_wheel_carries_the_data_and_finds_it(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "site-packages"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    code = "from visioncache.study.data import data_path; print(data_path())"
    environment = os.environ | {"PYTHONPATH": str(installed)}
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert Path(found) == installed / "visioncache" / "_data"
    listed = subprocess.run(["git", "ls-files", "data"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        assert (Path(found).parent / name.replace("data", "_data", 1)).read_bytes() == (
            ROOT / name
        ).read_bytes()


def test_ci_runs_the_readmes_test_command() -> None:
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "make test" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_importing_visioncache_loads_nothing_heavy() -> None:
    names = ("mlx", "IPython", "matplotlib", "pandas", "numpy")
    code = f"import sys, visioncache; print(*[name for name in {names} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not ran.stdout.split()


def test_no_module_of_the_library_knows_the_layers_above_it() -> None:
    above = {
        "keys": ["events", "cache", "vlm", "study", "jupyter"],
        "sizes": ["keys", "events", "cache", "vlm", "study", "jupyter"],
        "lru": ["cache", "vlm", "study"],
        "events": ["cache", "vlm", "study"],
    }
    for module, forbidden in above.items():
        text = (ROOT / "visioncache" / f"{module}.py").read_text(encoding="utf-8")
        for name in forbidden:
            assert f"from visioncache.{name}" not in text, (module, name)
    for path in (ROOT / "visioncache" / "vlm").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "visioncache.study" not in text, path
        # How a thing looks in a notebook is imported when one asks, inside a method.
        assert "\nfrom visioncache.jupyter" not in text, path
