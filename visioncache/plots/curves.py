"""Plots of hit rates over capacity, legible in print and without colour."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.ticker import MultipleLocator

from visioncache.plots.style import MARKERS, PALETTE, TEXT, Plot, axes_or_new, bytes_axis

if TYPE_CHECKING:
    import os

    import pandas as pd
    from matplotlib.axes import Axes

SIZE = (7.5, 4.0)
"""Inches of a new plot."""
_REFERENCES: dict[str, dict[str, Any]] = {
    "belady": {"color": TEXT, "linestyle": "--", "label": "Belady's MIN"},
    "offline-bound": {"color": TEXT, "linestyle": ":", "label": "offline bound: no policy\ndoes better"},
    "infinite": {"color": TEXT, "linestyle": "-.", "label": "infinite cache"},
    "none": {"color": TEXT, "linestyle": "--", "label": "no cache"},
}
_NAMES = {
    "hit_ratio": "hit ratio",
    "byte_hit_ratio": "byte hit ratio",
    "seconds_saved": "encode seconds saved",
    "encodes": "images encoded",
    "encode_seconds": "encode seconds",
    "ttft_p50": "seconds to first token, median",
    "ttft_p90": "seconds to first token, 90th percentile",
    "ttft_p99": "seconds to first token, 99th percentile",
    "ttft_mean": "seconds to first token, mean",
    "waited": "seconds in the queue, mean",
}


def plot_replay(
    table: pd.DataFrame, value: str = "hit_ratio", *, by: str = "bytes", ax: Axes | None = None
) -> Axes:
    """A line a policy over capacity, from what `replay` returned; the references in black and grey."""
    ax = axes_or_new(ax, SIZE)
    drawn = 0
    for name, rows in table.groupby("policy", sort=False):
        style = _REFERENCES.get(str(name))
        if style is None:
            style = _style(drawn, str(name))
            drawn += 1
            if name == "visioncache":  # cachetools' LRU lies on it
                style |= {"linewidth": 4, "marker": None, "zorder": 1.5}
        ax.plot(rows["capacity"], rows[value], **style)
    return _finish(ax, value, by)


def plot_granularity(table: pd.DataFrame, value: str = "encodes", *, ax: Axes | None = None) -> Axes:
    """An entry an image against an entry a request, from what `compare_granularity` returned."""
    ax = axes_or_new(ax, SIZE)
    labels = {"image": "an entry an image", "request": "an entry a request"}
    for number, (name, rows) in enumerate(table.groupby("granularity", sort=False)):
        ax.plot(rows["capacity"], rows[value], **_style(number, labels[str(name)]))
    ax.set_ylim(bottom=0)
    return _finish(ax, value, "bytes")


def plot_miss_ratio(curves: dict[str, pd.DataFrame], *, by: str = "bytes", ax: Axes | None = None) -> Axes:
    """Miss-ratio curves by name, from what `miss_ratio_curve` returned; bands are 95 % intervals.

    Raises:
        ValueError: some are by entries, others by bytes.
    """
    if len(units := {str(curve.attrs.get("by", by)) for curve in curves.values()}) > 1:
        raise ValueError(
            "some curves are by entries, others by bytes: give miss_ratio_curve one `by` for all"
        )
    ax = axes_or_new(ax, SIZE)
    for number, (name, curve) in enumerate(curves.items()):
        style = _style(number, name) | {"marker": None, "drawstyle": "steps-post"}
        style["linestyle"] = ("-", "--", "-.", ":")[number % 4]
        ax.plot(curve["capacity"], curve["miss_ratio"], **style)
        if curve["error"].any():
            ax.fill_between(curve["capacity"], curve["low"], curve["high"], color=style["color"], alpha=0.2)
    ax.set_ylim(0, 1)
    return _finish(ax, "miss ratio", next(iter(units), by))


FORMATS = {".png": "Description", ".svg": "Description", ".pdf": "Subject"}
"""Endings of pictures, and the field of each that says where its numbers come from."""


def save_plot(ax: Axes, path: str | os.PathLike[str], about: str = "") -> None:
    """Write the figure of a plot, as PNG, SVG or PDF by the name's ending, with its provenance inside.

    Raises:
        ValueError: another ending.
    """
    field = FORMATS[picture_format(path)]
    figure = ax.get_figure(root=True)
    if figure is not None:
        figure.savefig(path, dpi=150, facecolor="white", metadata={field: about})


def picture_format(path: str | os.PathLike[str]) -> str:
    """Give the ending of a picture's name; ValueError for one that no picture is written as."""
    ending = Path(path).suffix.lower()
    if ending not in FORMATS:
        raise ValueError(f"{path}: a picture's name ends in {', '.join(FORMATS)}")
    return ending


def _style(number: int, label: str) -> dict[str, Any]:
    return {
        "color": PALETTE[number % len(PALETTE)],
        "marker": MARKERS[number % len(MARKERS)],
        "linestyle": "-" if number < len(PALETTE) else "--",
        "markersize": 5,
        "linewidth": 1.6,
        "label": label,
    }


def _finish(ax: Axes, value: str, by: str) -> Axes:
    ax.set_xlim(left=0)
    if by == "bytes":
        width = getattr(ax.get_figure(root=True), "get_figwidth", lambda: SIZE[0])() * ax.get_position().width
        bytes_axis(ax.xaxis)
        # Steps of powers of two, which sizes in MiB and GiB read well at, as many as have room.
        ax.xaxis.set_major_locator(
            MultipleLocator(2.0 ** round(math.log2(ax.get_xlim()[1] / max(width / 0.9, 2.0))))
        )
    ax.set_xlabel("capacity" if by == "bytes" else "capacity (entries)")
    ax.set_ylabel(_NAMES.get(value, value))
    if value in {"hit_ratio", "byte_hit_ratio"}:
        ax.set_ylim(0, min(1.0, 1.1 * max(ax.get_ylim()[1], 0.1)))
    elif value.startswith("ttft") or value == "waited":
        ax.set_ylim(bottom=0)
    ax.grid(color=TEXT, alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)
    colour = {"labelcolor": TEXT} if isinstance(ax, Plot) else {}
    ax.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), **colour)
    return ax
