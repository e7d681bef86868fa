"""Report: everything about a cache on one page that opens offline, in light and dark."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visioncache.display import escape, facts_html, table_html
from visioncache.jupyter.advice import advice
from visioncache.jupyter.cells import thumbnails_of
from visioncache.jupyter.pictures import Pictures
from visioncache.jupyter.runs import runs_frame
from visioncache.records import ENTRY_COLUMNS, ENTRY_NUMBERS

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    from visioncache.cache import VisionFeatureCache
    from visioncache.jupyter.celldelta import CellDelta

MOST = 200
"""Entries and events that a page lists; the others are counted."""

_STYLE = """
:root { color-scheme: light dark; --line: #d0d7de; --soft: #57606a; }
@media (prefers-color-scheme: dark) { :root { --line: #3d444d; --soft: #9aa4af; } }
html { background: Canvas; color: CanvasText; }
body { margin: 2rem auto; max-width: 1100px; padding: 0 1rem; font: 14px/1.5 system-ui, sans-serif; }
section:focus-visible { outline: 2px solid; outline-offset: 4px; }
h1 { font-size: 1.5rem; } h2 { margin-top: 2rem; font-size: 1.1rem; }
section { overflow-x: auto; } figcaption, .soft { color: var(--soft); }
td, th { border-bottom: 1px solid var(--line); }
figure { display: inline-block; margin: 0 1rem 1rem 0; } figure img { width: 500px; max-width: 100%; }
td img { display: block; width: 48px; height: 36px; object-fit: cover; }
"""


def write_report(
    cache: VisionFeatureCache,
    path: str | os.PathLike[str],
    *,
    runs: Mapping[str, CellDelta] | None = None,
    pictures: Pictures | None = None,
) -> Path:
    """Write a page about a cache: summary, advice, curves, entries with pictures, runs, events, machine.

    It holds everything that it shows and asks for nothing from elsewhere.

    Args:
        cache: which cache.
        path: the file; its folder is made.
        runs: cells by the name that they were run under.
        pictures: of entries; by default those of whatever is attached to the cache.

    Returns:
        The file's path.

    Raises:
        OSError: the file can't be written.
    """
    target = Path(path).expanduser()
    pictures = pictures or Pictures(thumbnails_of(cache), {})
    when = datetime.now(UTC).astimezone().strftime("%Y-%m-%d %H:%M %Z")
    parts = [
        ("Summary", facts_html("VisionFeatureCache", cache.info().facts(), advice(cache))),
        ("Curves", _curves(cache)),
        ("Entries", _entries(cache, pictures)),
        *([("Runs", _frame(runs_frame(runs), "Cells that were run under a name"))] if runs else []),
        ("Events", _events(cache)),
        ("Machine", _machine()),
    ]
    # A part that is wider than a narrow window scrolls, with the keyboard too.
    body = "".join(
        f'<section aria-labelledby="{name}" tabindex="0"><h2 id="{name}">{name}</h2>{html}</section>'
        for name, html in parts
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>A vision-feature cache</title>'
        '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
        f"<style>{_STYLE}</style></head><body><main><h1>A vision-feature cache</h1>"
        f'<p class="soft">{escape(when)}</p>{body}</main></body></html>\n',
        encoding="utf-8",
    )
    return target


def _curves(cache: VisionFeatureCache) -> str:
    """The plots of a cache, as pictures within the page."""
    from visioncache import plots
    from visioncache.plots.style import png

    drawn: dict[str, Callable[[VisionFeatureCache], Any]] = {
        "Bytes held over time": plots.memory,
        "Hit rate over look-ups": plots.hit_rate,
        "Reuse distance": plots.reuse_distance,
        "Bytes by entry": plots.entry_bytes,
    }
    return "".join(
        f'<figure><img alt="{escape(name)}" src="{_png(png(plot(cache).figure))}"></figure>'
        for name, plot in drawn.items()
    )


def _entries(cache: VisionFeatureCache, pictures: Pictures) -> str:
    entries = cache.entries()[::-1]
    rows = [("", *entry.cells(cache.now())) for entry in entries[:MOST]]
    more = f" ({len(entries) - MOST} older ones not shown)" if len(entries) > MOST else ""
    table = table_html(
        ("picture", *ENTRY_COLUMNS), rows, f"Entries, most recently used first{more}", ENTRY_NUMBERS
    )
    # The first cell of each row is empty: the picture, which is no text, is put there.
    head, *cells = table.split("<tr><td")
    filled = []
    for entry, cell in zip(entries, cells, strict=False):
        url = pictures.kept(entry)
        image = f'<img alt="" src="{escape(url)}">' if url else ""
        filled.append(cell.replace("></td>", f">{image}</td>", 1))
    return "<tr><td".join([head, *filled])


def _events(cache: VisionFeatureCache) -> str:
    from visioncache.jupyter.frames import events_frame

    frame = events_frame(cache)
    kinds = ", ".join(f"{number:,} {kind}" for kind, number in frame["kind"].value_counts().items())
    last = frame.tail(MOST)[["time", "kind", "label", "nbytes", "seconds", "session", "turn"]]
    last = last.assign(time=[f"{when:%H:%M:%S}" for when in last["time"]])
    return _frame(last, f"{kinds or 'no events'}; the last {len(last)} of {len(frame):,}")


def _machine() -> str:
    from visioncache.study.benchmark.machine import describe_machine

    return facts_html("Measured on", [(str(value), name) for name, value in describe_machine().items()])


def _frame(frame: Any, caption: str) -> str:
    """A DataFrame as a table; what is not known is left out."""
    header = [str(name) for name in frame.columns]
    known = frame.notna().to_numpy()
    rows = [
        [_cell(value) if there else "" for value, there in zip(row, seen, strict=True)]
        for row, seen in zip(frame.to_numpy(), known, strict=True)
    ]
    return table_html(
        header, rows, caption, {"nbytes", "seconds"} | {name for name in header if name.endswith("_s")}
    )


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _png(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"
