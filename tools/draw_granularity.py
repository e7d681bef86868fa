"""Draw the chart of what granularity alone saves (notebook 05), which `draw_results.py` writes."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from visioncache.study import compare_granularity, plot_granularity, workload
from visioncache.study.trace.provenance import comment

TITLES = {
    "interleaved": "chats, interleaved",
    "screenshots": "an agent's screenshots",
    "catalogue": "a catalogue",
}


def granularity() -> tuple[Figure, str]:
    """Draw it, and say which traces it is of."""
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    axes = figure.subplots(1, len(TITLES))
    told = {}
    for ax, (name, title) in zip(axes, TITLES.items(), strict=True):
        trace = workload(name, seed=1)
        whole = trace.drop_duplicates("key")["nbytes"].sum()
        capacities = [round(whole * share) for share in np.linspace(0.05, 1.1, 12)]
        table = compare_granularity(trace, capacities)
        told[name] = table.attrs
        plot_granularity(table, ax=ax)
        ax.set_title(title)
        if ax is not axes[-1]:
            ax.get_legend().remove()
    return figure, comment(told)
