"""Notebooks on the site: links that are right in a checkout lead to its pages."""

from __future__ import annotations

import re

import nbformat
from doc_pages import ROOT
from docs_hooks import families, relinked
from markdown_it import MarkdownIt

from visioncache import study
from visioncache.vlm import FAMILIES
from visioncache.vlm.families.left_out import LEFT_OUT, NO_PREFIX


def test_a_notebooks_links_lead_to_pages_of_the_site() -> None:
    pages = {f"../{path.relative_to(ROOT / 'docs')}" for path in (ROOT / "docs").rglob("*.*")}
    pages = {name.removesuffix(".md") + ".html" if name.endswith(".md") else name for name in pages}
    pages |= {path.with_suffix(".html").name for path in (ROOT / "notebooks").glob("*.ipynb")}
    found = []
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        found += re.findall(r'(?:href|src)="(?!https?:|#)([^"#]+)', relinked(MarkdownIt().render(text)))
    assert len(found) > 5
    assert set(found) <= pages


def test_the_page_of_families_names_each_once_and_what_is_different() -> None:
    page = families()
    usual, others, left_out = re.split(r"## The others|## Left out", page.partition("## As most are")[2])
    rows = dict(re.findall(r"^\| `(\w+)`[^|]*\| (.+) \|$", others, re.MULTILINE))
    names = [name for name in FAMILIES if f"`{name}`" in usual.partition("Prefixes")[2]]
    assert sorted([*names, *rows]) == sorted(FAMILIES)
    assert f"{len(names)} of {len(FAMILIES)} families are alike" in usual
    for name, reason in NO_PREFIX.items():
        assert f"no prefixes: {reason}" in rows[name]
    assert rows["llava_next"] == "one entry for each request"
    assert all(left_out.count(f"`{name}`") == 1 for name in LEFT_OUT)


def test_the_page_of_the_study_names_each_public_name_once() -> None:
    page = (ROOT / "docs" / "reference" / "study.md").read_text(encoding="utf-8")
    named = re.findall(r"^::: visioncache\.study\.(\w+)$", page, re.MULTILINE)
    assert sorted(named) == sorted(study.__all__)
