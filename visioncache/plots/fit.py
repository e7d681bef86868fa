"""Plot of a fit: a trace and one made like it, in four panels, with the largest difference of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg

from visioncache.plots.style import BLUE, TEXT, VERMILLION, Picture, greys

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from visioncache.study.trace.traces import TraceLike


def plot_fit(trace: TraceLike, made: TraceLike) -> Picture:
    """Draw popularity, reuse, sizes and LRU's curve of a trace and of one made like it; in four panels.

    Args:
        trace: what was imitated.
        made: what `Fitted.generate` gave.
    """
    from visioncache.study.sim.fit import SHARES, fit_error, look_of

    error = fit_error(trace, made)
    figure = Picture(figsize=(9.0, 5.6), layout="constrained", facecolor="none")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, 2)
    for look, colour, style, label in (
        (look_of(trace), BLUE, "-", "trace"),
        (look_of(made), VERMILLION, "--", "made like it"),
    ):
        how = {"color": colour, "linestyle": style, "label": label, "linewidth": 1.8}
        images = len(look.popularity)
        panels[0, 0].plot(100 * np.arange(1, images + 1) / images, 100 * np.cumsum(look.popularity), **how)
        seen = np.sort(look.reuse)
        panels[0, 1].plot(100 * seen, 100 * np.arange(1, len(seen) + 1) / len(seen), **how)
        sizes = np.sort(look.sizes)
        panels[1, 0].step(sizes / 2**20, 100 * np.arange(1, len(sizes) + 1) / len(sizes), where="post", **how)
        panels[1, 1].plot(100 * SHARES, 100 * look.curve, **how)
    _label(panels[0, 0], "popularity", error["popularity"], "most popular images, %", "of look-ups, %")
    _label(panels[0, 1], "reuse", error["reuse"], "images asked for since, % of all", "of look-ups, %")
    _label(panels[1, 0], "sizes", error["sizes"], "MiB of an image", "of images, %")
    _label(panels[1, 1], "LRU's curve", error["curve"], "capacity, % of the working set", "misses, %")
    panels[0, 0].legend(frameon=False, labelcolor=TEXT, loc="lower right")
    return figure


def _label(ax: Axes, title: str, error: float, x: str, y: str) -> None:
    ax.set_facecolor("none")
    ax.set_title(f"{title}: at most {100 * error:.0f} points apart", loc="left", fontsize=10, color=TEXT)
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.set_ylim(0, 105)
    ax.grid(color=TEXT, alpha=0.25)
    greys(ax)
