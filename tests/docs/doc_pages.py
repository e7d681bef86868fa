"""Read the blocks of code of a Markdown page, and run them as a reader would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from markdown_it import MarkdownIt

if TYPE_CHECKING:
    from collections.abc import Mapping

    from IPython.core.interactiveshell import InteractiveShell

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
"""Every page that people read; the data's own READMEs show formats."""

CHECKED = (
    "make",
    "pip",
    "python3",
    "conda",
    "git",
    "brew",
    "cd",
    ".ci/run",
    "python",
    "pytest",
    "pre-commit",
)
"""Commands that install, clone, build or take long: their targets and files are looked up, and they are not run."""


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the line of the page that it begins in."""

    language: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    """Find the fenced blocks of a page, in order."""
    tokens = MarkdownIt().parse(page.read_text(encoding="utf-8"))
    fences = [token for token in tokens if token.type == "fence"]
    return [Block(token.info.strip(), token.content, token.map[0] + 1) for token in fences]


def replaced(text: str, places: Mapping[str, str]) -> str:
    """Put what this machine has where a page names what it does not have: checkpoints, a server."""
    for pattern, here in places.items():
        text = re.sub(pattern, lambda _, here=here: here, text)
    return text


def run_python(shell: InteractiveShell, text: str) -> None:
    """Run a cell in a shell; what it raises is raised."""
    shell.run_cell(text).raise_error()


def commands(text: str) -> list[str]:
    """Return the commands of a block, one a line, without comments and prompts."""
    lines = text.replace("\\\n", " ").splitlines()
    return [line for line in (re.sub(r"(^|\s)#.*", "", line).strip() for line in lines) if line]


def run_command(command: str, folder: Path) -> None:
    """Run a command in a folder, or look up what it names when it is one of those that are not run."""
    words = [word for word in command.split() if not re.fullmatch(r"[A-Z_]+=\S+", word)]
    if words[0] in CHECKED or words[:2] == [
        "visioncache",
        "demo",
    ]:  # which tests/packaging runs, from a wheel
        look_up(words)
        return
    environment = os.environ | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
    }
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def look_up(words: list[str]) -> None:
    """Find the target of `make`, the extras of `pip`, and every file that a command names."""
    if words[0] == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        for target in words[1:]:
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"the Makefile has no target {target}"
    for word in words[1:]:
        extras = re.search(r"^'?\.\[([\w,]+)\]", word)
        if extras and words[0] == "pip":
            project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
            for extra in extras[1].split(","):
                assert re.search(rf"^{extra} = \[", project, re.MULTILINE), f"no extra {extra}"
        if re.match(r"(tools|benchmarks|tests|docs|data|notebooks)/", word):
            assert list(ROOT.glob(word.partition("::")[0])), f"there is no {word}"
