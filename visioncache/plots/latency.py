"""Plots of a benchmark: seconds to the first token, by turn and by stage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from visioncache.plots.style import (
    ARMS,
    BLUE,
    GREEN,
    MARKERS,
    OCHRE,
    PALETTE,
    PURPLE,
    VERMILLION,
    axes_or_new,
    finish,
    from_zero,
)
from visioncache.study.benchmark.result import run_columns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

STAGES = {
    "key": (PURPLE, "xxx"),
    "decode": (GREEN, "///"),
    "preprocess": (OCHRE, "..."),
    "tower": (VERMILLION, "\\\\\\"),
    "prefill": (BLUE, ""),
}


def ttft(results: Any, ax: Axes | None = None) -> Axes:
    """Draw the seconds to the first token by turn, a line an arm: the median over trials.

    `results` is what `bench` returned, or its `turns`. Turns of several sessions follow one another.
    """
    ax = axes_or_new(ax)
    turns = _turns(results)
    which = [*run_columns(turns), "turn"]
    order = {turn: i for i, turn in enumerate(dict.fromkeys(turns[which].itertuples(index=False, name=None)))}
    for arm, rows in turns.groupby("arm", sort=False):
        times = rows.groupby(which, sort=False)["ttft_s"].median()
        at = [order[turn] for turn in times.index]
        colour, marker = ARMS.get(str(arm), (PURPLE, "v"))
        ax.plot(at, times.to_numpy(), color=colour, marker=marker, markersize=5, label=str(arm))
    ax.set_xticks(range(len(order)), [str(turn[-1]) for turn in order])
    from_zero(ax)
    return finish(ax, "Time to first token", "turn", "seconds", legend=True)


def runs(named: Mapping[str, Sequence[float]], ax: Axes | None = None) -> Axes:
    """Draw the seconds to the first token by turn, a line a run: what `%%vcache --as NAME` kept.

    Raises:
        ValueError: no run has a turn.
    """
    if not any(named.values()):
        raise ValueError(f"no turn of a chat was taken in {', '.join(named)}, so there is no time to draw")
    ax = axes_or_new(ax)
    for number, (name, seconds) in enumerate(named.items()):
        colour, marker = PALETTE[number % len(PALETTE)], MARKERS[number % len(MARKERS)]
        ax.plot(range(1, len(seconds) + 1), seconds, color=colour, marker=marker, markersize=5, label=name)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if ax.get_xlim()[1] - ax.get_xlim()[0] < 1:  # one turn
        ax.set_xlim(0.5, 1.5)
    from_zero(ax)
    return finish(ax, "Time to first token", "turn of the run", "seconds", legend=True)


def stages(results: Any, ax: Axes | None = None) -> Axes:
    """Draw where the seconds to the first token go, a stacked bar an arm: medians of sums."""
    ax = axes_or_new(ax)
    turns = _turns(results)
    columns = [f"{stage}_s" for stage in STAGES if f"{stage}_s" in turns]
    runs = ["arm", *run_columns(turns)]
    sums = turns.groupby([*runs, "trial"], sort=False)[columns].sum()
    medians = sums.groupby(runs, sort=False).median().groupby("arm", sort=False).sum()
    left = np.zeros(len(medians))
    for column in columns:
        colour, hatch = STAGES[column.removesuffix("_s")]
        values = medians[column].to_numpy()
        ax.barh(
            [str(arm) for arm in medians.index],
            values,
            left=left,
            height=0.62,
            color=colour,
            edgecolor="white",
            linewidth=0.4,
            hatch=hatch,
            label=column.removesuffix("_s"),
        )
        left += values
    ax.invert_yaxis()
    return finish(ax, "Where the time to first token goes", "seconds", "", legend=True, grid="x")


def _turns(results: Any) -> Any:
    """Return the turns of a result, or the frame itself; ValueError for a frame of something else."""
    turns = getattr(results, "turns", results)
    columns = list(getattr(turns, "columns", ()))
    missing = [name for name in ("session", "arm", "trial", "turn", "ttft_s") if name not in columns]
    if missing:
        raise ValueError(f"not the result of a bench: no column {', '.join(missing)}")
    return turns
