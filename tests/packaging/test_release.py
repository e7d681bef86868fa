"""A release: packages that run by themselves, one version, workflows that say what they mean."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import visioncache

ROOT = Path(__file__).resolve().parents[2]
GITHUB = ROOT / ".github"
FORMS = {
    "vendor.github-workflows": [*GITHUB.glob("workflows/*.yml")],
    "vendor.github-issue-forms": [
        GITHUB / "ISSUE_TEMPLATE" / f"{name}.yml" for name in ("bug", "exactness", "family")
    ],
    "vendor.github-issue-config": [GITHUB / "ISSUE_TEMPLATE" / "config.yml"],
    "vendor.dependabot": [GITHUB / "dependabot.yml"],
    "vendor.citation-file-format": [ROOT / "CITATION.cff"],
}


def run(*command: str, **options: object) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_files_that_github_reads_are_of_their_form(form: str) -> None:
    assert FORMS[form]
    run(sys.executable, "-m", "check_jsonschema", "--builtin-schema", form, *map(str, FORMS[form]))


def test_workflows_call_targets_of_the_makefile() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for path in GITHUB.glob("workflows/*.yml"):
        commands = re.findall(r"- run: (.+)", path.read_text(encoding="utf-8"))
        for command in commands:
            if not command.startswith("sudo apt-get"):
                make, target = command.split()
                assert make == "make", f"{path.name}: {command}"
                assert target in targets, f"{path.name}: the Makefile has no target {target}"


def test_the_version_stands_in_one_place_and_the_citation_agrees() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'dynamic = ["version"]' in project
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {visioncache.__version__}\n" in citation
    newest = re.search(r"^## ([\d.]+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest
    assert newest[1] == visioncache.__version__


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An sdist, and the wheel that is built from it, by the tools that a release uses."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT))
    return folder


@pytest.mark.slow
def test_the_packages_are_as_pypi_wants_them(dist: Path) -> None:
    run(sys.executable, "-m", "twine", "check", "--strict", *map(str, dist.iterdir()))


@pytest.mark.slow
def test_the_wheel_of_the_sdist_is_the_wheel_of_the_checkout(dist: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(tmp_path), str(ROOT))
    (ours,), (theirs,) = tmp_path.glob("*.whl"), dist.glob("*.whl")
    with zipfile.ZipFile(ours) as one, zipfile.ZipFile(theirs) as other:
        assert sorted(one.namelist()) == sorted(other.namelist())
        assert all(one.read(name) == other.read(name) for name in one.namelist())


@pytest.mark.slow
def test_the_demo_runs_from_an_installed_wheel_alone(dist: Path, tmp_path: Path) -> None:
    """In an environment of its own: our dependencies are borrowed, our package and its data are the wheel's."""
    bare = tmp_path / "bare"
    run(sys.executable, "-m", "venv", "--without-pip", str(bare))
    python = bare / "bin" / "python"
    (wheel,) = dist.glob("*.whl")
    run(
        sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)
    )
    (site,) = bare.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    code = "import visioncache; print(visioncache.__file__)"
    assert run(str(python), "-c", code, env=environment, cwd=tmp_path).startswith(str(site))
    shown = run(str(bare / "bin" / "visioncache"), "demo", env=environment, cwd=tmp_path)
    assert "the same tokens in every arm" in shown
    assert (tmp_path / "out" / "demo.png").stat().st_size > 10_000
