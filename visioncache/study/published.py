"""Results that are published in data/results/sessions: what sessions took, on which chip, of which model."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd

from visioncache.study.data import data_path
from visioncache.study.result import load_result

if TYPE_CHECKING:
    from pathlib import Path

    from visioncache.study.drawing import Picture

PANELS_A_ROW = 4


def published_results(folder: Path | None = None) -> pd.DataFrame:
    """A row a chip, model, size of photographs, session, prompt cache and arm.

    Columns beside those: `ttft_s` (the sum over turns, seconds), `of_mlx_vlm` and `of_bound` (that
    sum over theirs), `hits_of_bound` (turns that found every image, over the same turns of
    `bound`), `encodes`, `held_bytes`, `peak_bytes`, `tokens_equal`.

    Args:
        folder: of result files that `benchmarks/gpu_sessions.py` wrote; the shipped ones by default.
    """
    tables = []
    for path in sorted((folder or data_path("results", "sessions")).glob("*.json")):
        result = load_result(path)
        runs = result.turns.groupby(["size", "prompt_cache"], sort=False)
        for (size, prompt_cache), turns in sorted(runs, key=lambda run: _pixels(str(run[0][0]))):
            table = replace(result, turns=turns).summary()
            where = {"chip": result.machine["chip"], "model": result.model}
            table = table.assign(**where, size=str(size), prompt_cache=bool(prompt_cache))
            ours = table["arm"] == "visioncache"
            table["hits_of_bound"] = table["session"].map(_hits_of_bound(turns)).where(ours)
            tables.append(table)
    if not tables:
        return pd.DataFrame()
    everything = pd.concat(tables, ignore_index=True)
    which = ["chip", "model", "size", "session", "prompt_cache"]
    for name, arm in (("of_mlx_vlm", "mlx-vlm"), ("of_bound", "bound")):
        sums = everything[everything["arm"] == arm].set_index(which)["ttft_s"].rename(name)
        everything = everything.join(sums, on=which)
        everything[name] = everything["ttft_s"] / everything[name]
    measured = ["ttft_s", "of_mlx_vlm", "of_bound", "hits_of_bound", "encodes", "held_bytes", "peak_bytes"]
    return everything[[*which, "arm", *measured, "tokens_equal"]]


def plot_results(results: pd.DataFrame, session: str = "album") -> Picture:
    """Sums of TTFT by arm, a panel a model and size, of one session without a prompt cache.

    Args:
        results: what `published_results` gives, of one chip.
        session: which session.

    Raises:
        ValueError: there are no results of that session.
    """
    from visioncache.study.drawing import ARMS, TEXT, Picture, greys

    runs = results[(results["session"] == session) & ~results["prompt_cache"]]
    panels = list(runs.groupby(["model", "size"], sort=False))
    if not panels:
        known = ", ".join(sorted(results["session"].unique()))
        raise ValueError(f"no results of session {session!r} without a prompt cache; there are: {known}")
    rows = -(-len(panels) // PANELS_A_ROW)
    columns = -(-len(panels) // rows)  # of rows that are as full as each other
    figure = Picture(figsize=(2.8 * columns, 2.3 * rows + 0.3), layout="constrained", facecolor="none")
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for spare in axes[len(panels) :]:
        spare.set_visible(False)
    for axis, ((model, size), arms) in zip(axes, panels, strict=False):
        seconds = arms.set_index("arm")["ttft_s"].reindex(list(ARMS)).dropna()
        bars = axis.barh(list(seconds.index), seconds, color=[ARMS[str(arm)][0] for arm in seconds.index])
        greys(axis)
        axis.set_facecolor("none")
        axis.bar_label(bars, fmt="%.1f", padding=2, fontsize=8, color=TEXT)
        axis.set_title(f"{model}, {size}", fontsize=9)
        axis.set_xlim(0, 1.2 * seconds.max())
        axis.invert_yaxis()
        axis.tick_params(labelsize=8)
        if axis.get_subplotspec().colspan.start:
            axis.set_yticklabels([])
    turns = f"{session}: seconds until the first token, summed over its turns"
    figure.suptitle(f"{turns} ({', '.join(runs['chip'].unique())})", fontsize=9, color=TEXT)
    return figure


def _pixels(size: str) -> int:
    """Of a size of photographs such as 1280x960."""
    width, height = size.split("x")
    return int(width) * int(height)


def _hits_of_bound(turns: pd.DataFrame) -> dict[str, float]:
    """By session: seconds of our turns without a miss, over those turns' under `bound`."""
    median = turns.pivot_table("ttft_s", ["session", "turn"], "arm", aggfunc="median")
    if "bound" not in median or "visioncache" not in median:
        return {}
    ours = turns[turns["arm"] == "visioncache"]
    hit = ours[(ours["misses"] == 0) & (ours["hits"] > 0)].groupby(["session", "turn"]).size().index
    sums = median.loc[hit, ["visioncache", "bound"]].groupby("session").sum()
    return dict(sums["visioncache"] / sums["bound"])
