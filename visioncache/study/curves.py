"""Plots of hit rates over capacity, legible in print and without colour."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from visioncache.sizes import format_size

if TYPE_CHECKING:
    import os

    import pandas as pd
    from matplotlib.axes import Axes

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's, which colour-blind readers tell apart; markers differ too."""
MARKERS = "osD^vPX*"

_REFERENCES: dict[str, dict[str, Any]] = {
    "belady": {"color": "black", "linestyle": "--", "label": "Belady's MIN"},
    "bound": {"color": "black", "linestyle": ":", "label": "upper bound"},
    "floor": {"color": "0.55", "linestyle": "-.", "label": "never evicts"},
}
_NAMES = {
    "hit_ratio": "hit ratio",
    "byte_hit_ratio": "byte hit ratio",
    "seconds_saved": "encode seconds saved",
    "encodes": "images encoded",
    "encode_seconds": "encode seconds",
}


def plot_replay(
    table: pd.DataFrame, value: str = "hit_ratio", *, by: str = "bytes", ax: Axes | None = None
) -> Axes:
    """A line a policy over capacity, from what `replay` returned; the references in black and grey."""
    ax = _axes(ax)
    drawn = 0
    for name, rows in table.groupby("policy", sort=False):
        style = _REFERENCES.get(str(name))
        if style is None:
            style = _style(drawn, str(name))
            drawn += 1
            if name == "visioncache":  # cachetools' LRU lies on it
                style |= {"linewidth": 4, "alpha": 0.6, "marker": None}
        ax.plot(rows["capacity"], rows[value], **style)
    return _finish(ax, value, by)


def plot_granularity(table: pd.DataFrame, value: str = "encodes", *, ax: Axes | None = None) -> Axes:
    """An entry an image against an entry a request, from what `compare_granularity` returned."""
    ax = _axes(ax)
    labels = {"image": "an entry an image", "request": "an entry a request"}
    for number, (name, rows) in enumerate(table.groupby("granularity", sort=False)):
        ax.plot(rows["capacity"], rows[value], **_style(number, labels[str(name)]))
    ax.set_ylim(bottom=0)
    return _finish(ax, value, "bytes")


def plot_miss_ratio(curves: dict[str, pd.DataFrame], *, by: str = "bytes", ax: Axes | None = None) -> Axes:
    """Miss-ratio curves by name, from what `miss_ratio_curve` returned; bands are two standard errors."""
    ax = _axes(ax)
    for number, (name, curve) in enumerate(curves.items()):
        style = _style(number, name) | {"marker": None, "drawstyle": "steps-post"}
        style["linestyle"] = ("-", "--", "-.", ":")[number % 4]
        ax.plot(curve["capacity"], curve["miss_ratio"], **style)
        if curve["error"].any():
            low, high = (curve["miss_ratio"] + sign * 2 * curve["error"] for sign in (-1, 1))
            ax.fill_between(
                curve["capacity"], low.clip(0), high.clip(upper=1), color=style["color"], alpha=0.2
            )
    ax.set_ylim(0, 1)
    return _finish(ax, "miss ratio", by)


def save_plot(ax: Axes, path: str | os.PathLike[str]) -> None:
    """Write the figure of a plot, as PNG, SVG or PDF by the name's ending."""
    figure = ax.get_figure(root=True)
    if figure is not None:
        figure.savefig(path, dpi=150)


def _ticks(ax: Axes) -> float:
    """How many sizes have room below a plot."""
    figure = ax.get_figure(root=True)
    width = ax.get_position().width * (6.4 if figure is None else figure.get_size_inches()[0])
    return max(width / 0.9, 2.0)


def _axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    from matplotlib.figure import Figure

    # Not pyplot's: a library that draws does not add to somebody's open figures.
    figure = Figure(figsize=(7.5, 4.5), layout="constrained", dpi=120)
    return figure.subplots()


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
    if by == "bytes":
        from matplotlib.ticker import MultipleLocator

        ax.xaxis.set_major_formatter(lambda x, _: format_size(int(max(x, 0))))
        # Steps of powers of two, which sizes in MiB and GiB read well at.
        step = 2.0 ** round(math.log2(ax.get_xlim()[1] / _ticks(ax)))
        ax.xaxis.set_major_locator(MultipleLocator(step))
    ax.set_xlim(left=0)
    ax.set_xlabel("capacity" if by == "bytes" else "capacity (entries)")
    ax.set_ylabel(_NAMES.get(value, value))
    if value in {"hit_ratio", "byte_hit_ratio"}:
        ax.set_ylim(0, 1)
    ax.grid(alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax
