"""Plots of several panels: replays side by side, and what a policy gains, workload by workload."""

from __future__ import annotations

from typing import TYPE_CHECKING

from visioncache.plots.curves import plot_replay
from visioncache.plots.style import BLUE, TEXT, Picture, Plot, greys
from visioncache.study.sim.studied import comparable
from visioncache.study.trace.provenance import comment

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

PANEL = (4.2, 3.2)
"""Inches of a panel."""
LEGEND = 1.9
"""Inches for the one legend, on the right."""


def plot_replays(
    tables: Mapping[str, pd.DataFrame], value: str = "hit_ratio", *, by: str = "bytes"
) -> Picture:
    """Draw what `replay` or `ttft` returned, a panel a table, each under its title.

    The picture says inside which traces and parameters its tables are of.
    """
    figure = Picture(
        figsize=(PANEL[0] * len(tables) + LEGEND, PANEL[1]), layout="constrained", facecolor="none"
    )
    axes = figure.subplots(1, len(tables), squeeze=False, subplot_kw={"axes_class": Plot})[0]
    for ax, (title, table) in zip(axes, tables.items(), strict=True):
        ax.set_facecolor("none")
        plot_replay(table, value, by=by, ax=ax)
        ax.set_title(title, color=TEXT, fontsize=11)
        greys(ax)
        if ax is not axes[-1]:
            ax.get_legend().remove()
        if ax is not axes[0]:
            ax.set_ylabel("")
    figure.about = comment({title: table.attrs for title, table in tables.items()})
    return figure


def plot_gains(gains: pd.DataFrame, policy: str = "gdsf") -> Picture:
    """Draw how many points a policy gains over LRU: a bar a seed, and a mark for their mean.

    Args:
        gains: what `policy_gains` or `studied("gains")` returned. Drawn are the capacities at which every
            policy of it can run; small and large ones are two panels.
        policy: which policy.
    """
    shown = comparable(gains)
    shown = shown[shown["policy"] == policy]
    halves = shown["capacity"].cat.categories
    figure = Picture(figsize=(PANEL[0] * len(halves) + 1, 3.6), layout="constrained", facecolor="none")
    axes = figure.subplots(1, len(halves), sharey=True, squeeze=False)[0]
    for ax, half in zip(axes, halves, strict=True):
        seeds = shown[shown["capacity"] == half].groupby(["workload", "seed"])["gain"].mean().unstack()  # noqa: PD010
        for row, (_, values) in enumerate(seeds.iterrows()):
            ax.plot(values, [row] * len(values), "|", color=TEXT, alpha=0.7, markersize=11)
            ax.plot(values.mean(), row, "D", color=BLUE, markersize=5)
        ax.axvline(0, color=TEXT, linewidth=0.8)
        ax.set_yticks(range(len(seeds)), seeds.index)
        ax.set_facecolor("none")
        ax.set_title(f"cache of {half}", fontsize=10)
        ax.set_xlabel("points more than LRU")
        greys(ax)
    axes[0].invert_yaxis()
    figure.about = comment({"gains": gains.attrs})
    return figure
