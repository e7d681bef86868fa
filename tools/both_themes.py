"""Write a chart of the docs twice, for light pages and for dark ones: NAME-light.png and NAME-dark.png."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D
from matplotlib.text import Text

from visioncache.plots.style import BLUE, SKY

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = {"light": ("#ffffff", "#4d545c"), "dark": ("#0d1117", "#c2c9d1")}
"""The page and its words, of each theme. Bars and lines have colours that stand out from both, but for blue lines."""


def save(figure: Figure, name: str, about: str, dpi: int = 144, folder: Path = DOCS) -> None:
    """Write both pictures, each with its provenance inside."""
    for theme, (page, words) in PAGES.items():
        for axes in figure.findobj(Axes):
            axes.set_facecolor("none")
            axes.tick_params(color=words, labelcolor=words)
            for spine in axes.spines.values():
                spine.set_edgecolor(words)
        for text in figure.findobj(Text):
            text.set_color(words)
        for line in figure.findobj(Line2D):
            if theme == "dark" and to_hex(line.get_color()) == BLUE:
                line.set_color(SKY)
        figure.savefig(
            folder / f"{name}-{theme}.png", dpi=dpi, facecolor=page, metadata={"Description": about}
        )
