"""Style: the colours, axes and ticks that every chart of the project shares, one colour an arm.

Charts are in greys and colours that stand out from white and from black alike (4:1 for text) and that
the colour-blind tell apart (Okabe and Ito, 2008), with marks and hatches besides.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from visioncache.sizes import format_size

TEXT = "#797979"
"""As far from white as from JupyterLab's black."""
BLUE, VERMILLION, GREEN, PURPLE, OCHRE, SKY = "#0072b2", "#d55e00", "#009e73", "#b56a98", "#c98a00", "#4a9fd0"
PALETTE = (BLUE, VERMILLION, GREEN, PURPLE, OCHRE, SKY)
MARKERS = "osD^vPX*"
ARMS = {
    "none": (TEXT, "o"),
    "mlx-vlm": (VERMILLION, "s"),
    "visioncache": (BLUE, "D"),
    "bound": (GREEN, "^"),
}
"""Colour and marker of each arm of a benchmark."""


class Plot(Axes):
    """Axes that show themselves in a notebook: they belong to no pyplot figure, so nothing else would."""

    def _repr_png_(self) -> bytes:
        return png(self.figure)


class Picture(Figure):
    """A figure of several panels that shows itself in a notebook, as `Plot` does."""

    about = ""
    """Traces and parameters, which are written into the picture."""

    def _repr_png_(self) -> bytes:
        return png(self, self.about)


def png(figure: Any, about: str = "") -> bytes:
    """A figure as a notebook shows it."""
    image = io.BytesIO()
    told = {"metadata": {"Description": about}} if about else {}
    figure.savefig(image, format="png", dpi=144, bbox_inches="tight", **told)
    return image.getvalue()


def axes_or_new(ax: Axes | None, size: tuple[float, float] = (6.4, 3.2)) -> Axes:
    """The caller's Axes, or new transparent ones; not pyplot's, which would keep them open."""
    if ax is not None:
        return ax
    figure = Figure(figsize=size, facecolor="none", layout="constrained")
    FigureCanvasAgg(figure)
    new = figure.add_subplot(axes_class=Plot, facecolor="none")
    greys(new)
    return new


def greys(ax: Axes) -> None:
    """No frame, and text and ticks that are legible on white and on black."""
    for side, spine in ax.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(TEXT)
    ax.tick_params(colors=TEXT, labelsize=9)
    for text in (ax.title, ax.xaxis.label, ax.yaxis.label):
        text.set_color(TEXT)


class BytesLocator(MaxNLocator):
    """Ticks at round numbers of KiB, MiB or GiB."""

    def tick_values(self, vmin: float, vmax: float) -> Any:
        """Ticks between two amounts of bytes."""
        unit = 1024 ** int(np.log2(max(vmax, 1)) // 10)
        return np.asarray(super().tick_values(vmin / unit, vmax / unit)) * unit


def bytes_axis(axis: Any) -> None:
    """Ticks in KiB, MiB or GiB."""
    axis.set_major_locator(BytesLocator(nbins=5))
    axis.set_major_formatter(FuncFormatter(lambda size, _: format_size(size)))


def finish(ax: Axes, title: str, x: str, y: str, *, legend: bool, grid: str = "y") -> Axes:
    """Title, labels, legend and grid; on Axes of the caller, only what they don't have yet."""
    for has, set_text, text in (
        (ax.get_title(), ax.set_title, title),
        (ax.get_xlabel(), ax.set_xlabel, x),
        (ax.get_ylabel(), ax.set_ylabel, y),
    ):
        if text and not has:
            set_text(text)
    if isinstance(ax, Plot):
        ax.set_title(ax.get_title(), color=TEXT, fontsize=11, fontweight="bold", loc="left")
        ax.title.set_text("")
        ax.grid(axis=grid, color=TEXT, alpha=0.3, linewidth=0.7)  # type: ignore[arg-type]
        ax.set_axisbelow(True)
    if legend and ax.get_legend_handles_labels()[1]:
        colour = {"labelcolor": TEXT} if isinstance(ax, Plot) else {}
        ax.legend(frameon=False, fontsize=9, **colour)
    return ax


def from_zero(ax: Axes) -> None:
    """Begin the vertical axis at zero."""
    if ax.get_ylim()[1] > 0:
        ax.set_ylim(bottom=0)


def nothing(ax: Axes, words: str) -> Axes:
    """Say in the middle of an empty plot why it is empty."""
    ax.text(0.5, 0.5, words, transform=ax.transAxes, ha="center", va="center", color=TEXT, fontsize=11)
    ax.set_xticks([])
    ax.set_yticks([])
    return ax
