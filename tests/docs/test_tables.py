"""Figures in the README and the docs are those of data/results, and links lead somewhere."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import pytest
from doc_pages import PAGES, ROOT

sys.path.append(str(ROOT / "tools"))  # no package

import write_tables

if TYPE_CHECKING:
    from pathlib import Path

TOP = [
    ROOT / name
    for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md", "CHANGELOG.md")
]


def titled(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=titled)
def test_tables_are_what_was_measured(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert write_tables.updated(text) == text, "run tools/write_tables.py"


def test_every_table_stands_on_a_page() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for name in write_tables.TABLES:
        assert f"<!-- {name} -->\n|" in text


@pytest.mark.parametrize("page", TOP, ids=titled)
def test_links_from_the_top_of_the_repository_lead_to_files(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#]+)[^)]*\)|(?:src|srcset)=\"([^\"]+)\"", text)
    for link in ("".join(found) for found in links):
        if not link.startswith("https://"):
            assert (ROOT / link).exists(), f"{page.name}: {link}"


def test_the_readme_is_two_screens() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 100
