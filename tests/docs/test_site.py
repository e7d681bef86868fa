"""Notebooks on the site: links that are right in a checkout lead to its pages."""

from __future__ import annotations

import re

import nbformat
from doc_pages import ROOT
from docs_hooks import relinked
from markdown_it import MarkdownIt


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
