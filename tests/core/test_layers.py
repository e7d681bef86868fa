"""The surfaces stand on top: nothing below a notebook or the command line knows of them."""

from __future__ import annotations

import ast
from pathlib import Path

import visioncache

PACKAGE = Path(visioncache.__file__).parent


def imported(path: Path) -> set[str]:
    """Every module that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_nothing_below_the_surfaces_imports_them() -> None:
    surfaces = {PACKAGE / "__init__.py", PACKAGE / "cli.py"}
    below = [
        path
        for path in PACKAGE.rglob("*.py")
        if path not in surfaces and path.relative_to(PACKAGE).parts[0] not in ("jupyter", "cli")
    ]
    assert len(below) > 50
    guilty = {
        str(path.relative_to(PACKAGE)): sorted(names)
        for path in below
        if (names := {name for name in imported(path) if name.startswith("visioncache.jupyter")})
    }
    assert guilty == {}


def test_display_knows_no_classes() -> None:
    assert not {name for name in imported(PACKAGE / "display.py") if name.startswith("visioncache")}
