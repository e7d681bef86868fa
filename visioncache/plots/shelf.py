"""Shelf: what a view shows of a cache, as a picture: its counters, a bar by bytes, and a card an entry."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import Rectangle
from PIL import ImageOps

from visioncache.display import format_seconds
from visioncache.plots.style import BLUE, SKY, TEXT, Picture
from visioncache.sizes import count, format_size

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from visioncache.records import CacheInfo, Entry

# In inches: a figure is as large as its cards need.
COLUMNS, WIDTH, HEIGHT, GAP, MARGIN, HEAD = 8, 1.25, 1.45, 0.1, 0.2, 1.15
PICTURE = 0.85
INK, LINE, SUNKEN = "#1f2328", "#d0d7de", "#eaeef2"


def shelf(
    info: CacheInfo,
    entries: Sequence[Entry],
    picture: Callable[[Entry], Any],
    *,
    now: float,
    caption: str = "",
) -> Picture:
    """Draw a cache on white.

    Args:
        info: its counters and bounds.
        entries: those that get a card, in this order; the bar has the others as one part.
        picture: a PIL image of an entry, or None.
        now: seconds by the cache's clock, for ages.
        caption: how they are ordered and which they are.
    """
    rows = max(1, -(-len(entries) // COLUMNS))
    width = 2 * MARGIN + COLUMNS * (WIDTH + GAP) - GAP
    height = 2 * MARGIN + HEAD + rows * (HEIGHT + GAP)
    figure = Picture(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    axes: Any = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    _head(axes, info, width - 2 * MARGIN)
    _bar(axes, info, entries, width - 2 * MARGIN)
    axes.text(MARGIN, MARGIN + HEAD - 0.1, caption, fontsize=8, color=TEXT)
    most = max((entry.nbytes for entry in entries), default=1) or 1
    for number, entry in enumerate(entries):
        x = MARGIN + number % COLUMNS * (WIDTH + GAP)
        y = MARGIN + HEAD + number // COLUMNS * (HEIGHT + GAP)
        _card(axes, entry, (x, y), entry.nbytes / most, picture(entry), now)
    if not entries:
        axes.text(width / 2, MARGIN + HEAD + HEIGHT / 2, "Nothing to show", ha="center", color=TEXT)
    axes.set(xlim=(0, width), ylim=(height, 0))  # pictures change them
    axes.set_aspect("auto")
    return figure


def _head(axes: Any, info: CacheInfo, width: float) -> None:
    facts = info.facts()
    letters = [max(1.6 * len(value), len(name)) + 3 for value, name in facts]
    for number, (value, name) in enumerate(facts):
        x = MARGIN + width * sum(letters[:number]) / sum(letters)
        axes.text(x, MARGIN + 0.15, value, fontsize=12, color=INK, fontweight="bold")
        axes.text(x, MARGIN + 0.35, name, fontsize=8, color=TEXT)


def _bar(axes: Any, info: CacheInfo, entries: Sequence[Entry], width: float) -> None:
    """Draw each entry as wide as its bytes, the others as one part, and what is free."""
    whole = max(info.max_bytes or 0, info.nbytes, 1)
    y, at = MARGIN + 0.5, MARGIN
    axes.add_patch(Rectangle((MARGIN, y), width, 0.22, color=SUNKEN, linewidth=0))
    others = max(0, info.nbytes - sum(entry.nbytes for entry in entries))
    for nbytes, colour in [*((entry.nbytes, BLUE) for entry in entries), (others, SKY)]:
        part = width * nbytes / whole
        edge = 0.5 if part > 0.05 else 0  # noqa: PLR2004  # inches: of a line the edge would be all
        axes.add_patch(Rectangle((at, y), part, 0.22, facecolor=colour, edgecolor="white", linewidth=edge))
        at += part
    free = (info.max_bytes or 0) - info.nbytes
    if free > 0 and MARGIN + width - at > 1:
        axes.text((at + MARGIN + width) / 2, y + 0.15, f"{format_size(free)} free", ha="center", fontsize=8)


def _card(axes: Any, entry: Entry, place: tuple[float, float], share: float, image: Any, now: float) -> None:
    x, y = place
    axes.add_patch(Rectangle(place, WIDTH, HEIGHT, facecolor="white", edgecolor=LINE, linewidth=1))
    if image is None:
        axes.add_patch(Rectangle(place, WIDTH, PICTURE, facecolor=SUNKEN, linewidth=0))
    else:
        shown = ImageOps.fit(image.convert("RGB"), (round(144 * WIDTH), round(144 * PICTURE)))
        axes.imshow(shown, extent=(x, x + WIDTH, y + PICTURE, y), interpolation="bilinear", zorder=1)
    lines = [
        (_stem(entry.name), INK, "bold"),
        (format_size(entry.nbytes), TEXT, "normal"),
        (f"{count(entry.hits, 'hit')}, {format_seconds(now - entry.last_used)} ago", TEXT, "normal"),
    ]
    for number, (text, colour, weight) in enumerate(lines):
        axes.text(
            x + 0.06, y + PICTURE + 0.16 + 0.16 * number, text, fontsize=7.5, color=colour, fontweight=weight
        )
    if entry.pinned:
        box = {"facecolor": "white", "edgecolor": "none", "boxstyle": "round,pad=0.25"}
        axes.text(x + WIDTH - 0.08, y + 0.15, "pinned", fontsize=7, ha="right", color=INK, bbox=box, zorder=3)
    axes.add_patch(
        Rectangle((x, y + HEIGHT - 0.04), WIDTH * share, 0.04, color=BLUE, alpha=0.7, linewidth=0, zorder=2)
    )


def _stem(name: str, most: int = 18) -> str:
    """Return a file's name without its extension, cut in the middle; dollars are no formulas."""
    path = PurePath(name)
    stem = path.stem if path.suffix and path.suffix[1:].isalnum() else path.name or name
    cut = stem if len(stem) <= most else f"{stem[: most - 7]}…{stem[-6:]}"
    return cut.replace("$", r"\$")
