"""Draw docs/granularity.png, the README's chart of what granularity alone saves (notebook 05)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from visioncache.plots.curves import save_plot
from visioncache.study import compare_granularity, plot_granularity, workload
from visioncache.study.trace.provenance import comment

TITLES = {
    "interleaved": "chats, interleaved",
    "screenshots": "an agent's screenshots",
    "catalogue": "a catalogue",
}


def main() -> None:
    """Draw it."""
    axes = Figure(figsize=(12, 3.6), layout="constrained").subplots(1, len(TITLES))
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
    save_plot(axes[0], Path(__file__).parents[1] / "docs" / "granularity.png", comment(told))


if __name__ == "__main__":
    main()
