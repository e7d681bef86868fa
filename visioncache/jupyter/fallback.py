"""Fallback: the static table below a widget, out of sight wherever the widget itself can be seen."""

from __future__ import annotations

from html import escape

# Outputs of one cell follow one another, in JupyterLab as in nbconvert's pages. Where the widget draws
# (it is a `.vcache`), the table after it goes; where it doesn't, its own output goes, which would say
# "model not found". A page that drops styles shows the table, and widget.js hides it where it draws.
_STYLE = (
    ".jp-OutputArea-child:has(.vcache)+.jp-OutputArea-child:has(.vcache-static){display:none}"
    ".jp-OutputArea-child:has(+.jp-OutputArea-child .vcache-static):not(:has(.vcache)){display:none}"
)


def static_html(html: str, name: str) -> str:
    """Write a table that stands in for the widget of that name where nothing can draw it."""
    return (
        f'<style>{_STYLE}</style><div class="vcache-static" data-vcache-static="{escape(name)}">{html}</div>'
    )
