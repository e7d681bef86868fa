"""Display: facts and rows as static HTML and as text.

It knows no classes: an object lists its own facts, as `(value, name)` pairs of text. Every string from
outside is escaped here, and only here. Colours come from the page, so that the HTML is legible wherever
it ends up: JupyterLab, GitHub (which drops styles), a mail.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    Fact = tuple[str, str]

_CELL = "padding:2px 10px 2px 0;text-align:left;white-space:nowrap"
_NUMBER = "padding:2px 10px 2px 0;text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums"


def facts_html(title: str, facts: Iterable[Fact], note: str = "") -> str:
    """Write one line of `value name` pairs after a bold title, and a note below it."""
    parts = "".join(
        f' &middot; <span style="white-space:nowrap"><b>{escape(value)}</b> {escape(name)}</span>'
        for value, name in facts
    )
    tail = f"<br>{escape(note)}" if note else ""
    return f'<div style="line-height:1.6"><b>{escape(title)}</b>{parts}{tail}</div>'


def said_html(question: str, answer: str) -> str:
    """Write a question in italics, and its answer below it."""
    return f"<div><i>{escape(question)}</i></div><div>{escape(answer)}</div>"


def table_html(
    header: Sequence[str], rows: Iterable[Sequence[str]], caption: str, right: Collection[str]
) -> str:
    """Write a table of text; the columns named in `right` hold numbers.

    The caption is a figure's, not the table's, which would wrap it to the width of the columns.
    """

    def line(cells: Sequence[str], tag: str) -> str:
        return "".join(
            f'<{tag} style="{_NUMBER if name in right else _CELL}">{escape(cell)}</{tag}>'
            for name, cell in zip(header, cells, strict=True)
        )

    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    return (
        f'<figure style="display:block;margin:4px 0"><figcaption>{escape(caption)}</figcaption>'
        f'<table style="border-collapse:collapse;margin:0;font:inherit">'
        f"<thead><tr>{line(header, 'th')}</tr></thead><tbody>{body}</tbody></table></figure>"
    )


def table_text(header: Sequence[str], rows: Iterable[Sequence[str]], right: Collection[str]) -> str:
    """Write the same table as lines of text, its columns two spaces apart."""
    lines = [list(header), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if name in right else cell.ljust(width)
            for name, cell, width in zip(header, line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def format_seconds(seconds: float) -> str:
    """Write seconds as people read them: `0.0123` is `12 ms`, `75.0` is `1 min 15 s`."""
    if seconds < 0.9995:  # noqa: PLR2004  # below what rounds to a second
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:  # noqa: PLR2004
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:  # noqa: PLR2004
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def counted(number: int, one: str, many: str) -> Fact:
    """Name a number of things: `("1", "hit")`, `("2", "hits")`."""
    return f"{number:,}", one if number == 1 else many


def lookup_facts(hits: int, misses: int, store_hits: int = 0) -> list[Fact]:
    """List hits, misses, and what a store answered when it did."""
    stored = [(f"{store_hits:,}", "from the store")] if store_hits else []
    return [counted(hits, "hit", "hits"), *stored, counted(misses, "miss", "misses")]


def escape(text: str) -> str:
    """Write text so that HTML shows it as it is."""
    from html import escape as escaped  # here, for `import visioncache` is to be fast

    return escaped(text.encode("utf-8", "backslashreplace").decode("utf-8"))
