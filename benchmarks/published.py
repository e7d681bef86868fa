"""Results that are published in data/results: what sessions took, which bits are the same, first looks."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from visioncache.study.benchmark.result import load_result
from visioncache.study.data import data_path

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from visioncache.plots.style import Picture

PANELS_A_ROW = 4


def published_results(folder: Path | None = None) -> pd.DataFrame:
    """A row a chip, model, size of photographs, session, prompt cache and arm.

    Columns beside those: `ttft_s` (the sum over turns, seconds), `of_mlx_vlm` and `of_bound` (that
    sum over theirs), `hits_of_bound` (the sum over turns that found every image, over the same turns of
    `bound` in the same trial), `encodes`, `held_bytes`, `peak_bytes`, `tokens_equal`.

    Args:
        folder: of result files that `benchmarks/gpu_sessions.py` wrote; the shipped ones by default.
    """
    tables = []
    for path in sorted((folder or data_path("results", "sessions")).glob("*.json")):
        result = load_result(path)
        runs = result.turns.groupby(["size", "prompt_cache"], sort=False)
        for (size, prompt_cache), turns in sorted(runs, key=lambda run: pixels(str(run[0][0]))):
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


ARMS_SHOWN = {
    "none": "no cache",
    "mlx-vlm": "mlx-vlm's cache",
    "visioncache": "visioncache",
    "bound": "language model alone (bound)",
    "visioncache+prefixes": "visioncache with prefixes",
    "visioncache+warm": "the same, images shown before the question",
    "floor": "new tokens alone (floor)",
}
"""Names of arms in tables."""


def sessions_shown(results: pd.DataFrame) -> pd.DataFrame:
    """Lay out `published_results` of one chip to be read: a row a session, model and size, units in the headers."""
    runs = results[~results["prompt_cache"]]
    which = ["session", "model", "size"]
    seconds = runs.pivot_table("ttft_s", which, "arm", sort=False)
    shown = [arm for arm in ARMS_SHOWN if arm in seconds]
    hits = runs[runs["arm"] == "visioncache"].set_index(which)["hits_of_bound"]
    table = seconds[shown].rename(columns={arm: f"{ARMS_SHOWN[arm]}, s" for arm in shown})
    table["turns that find every image, over bound"] = hits
    rows = table.reset_index().sort_values(["session", "model", "size"], key=_in_order, ignore_index=True)
    return rows.rename(columns={"size": "photographs"}).rename_axis(columns=None)


def _in_order(values: pd.Series) -> pd.Series:
    return values.map(pixels) if values.name == "size" else values


def prefixes_shown(folder: Path | None = None) -> pd.DataFrame:
    """Lay out the published runs with prefixes: a row an arm, a column a run, each cell with its unit.

    The last row says how many of the prompts' tokens prefixes spared.

    Args:
        folder: of result files; the shipped ones, data/results/prefixes, by default.
    """
    columns = {}
    for path in sorted((folder or data_path("results", "prefixes")).glob("*.json")):
        result = load_result(path)
        turns = result.turns[~result.turns["prompt_cache"].astype(bool)]
        counted = ["ttft_s", "prompt_tokens", "reused_tokens"]
        for (session, size), run in turns.groupby(["session", "size"], sort=False):
            sums = run.groupby(["arm", "trial"])[counted].sum().groupby("arm").median()
            spared = sums.loc["visioncache+prefixes"]
            told = {
                ARMS_SHOWN[arm]: f"{sums.loc[arm, 'ttft_s']:.2f} s" for arm in ARMS_SHOWN if arm in sums.index
            }
            told["prompt tokens spared by prefixes"] = (
                f"{spared['reused_tokens'] / spared['prompt_tokens']:.0%}"
            )
            columns[f"{session}, {result.model}, {size}"] = told
    order = [*ARMS_SHOWN.values(), "prompt tokens spared by prefixes"]
    return pd.DataFrame(columns).reindex(order).fillna("not measured")


def published_bits(folder: Path | None = None) -> pd.DataFrame:
    """Give a row a chip, model, way of attention, size of photographs and session: which bits are the same.

    Columns: `single` and `several`, its turns about one image and about more; `single_as_none` and
    `several_as_none`, those in which the language model is given, with our cache, the same bits as
    without one; `given_repeats`, `logits_repeat`, those in which bits were the same every time under each
    arm; `logits_apart`, the most that two logits of a turn differ, over their deviation.

    Args:
        folder: of files that `benchmarks/same_bits.py` wrote; the shipped ones by default.

    Raises:
        ValueError: a file there is something else.
    """
    return _rows(folder or data_path("results", "bits"), _bits)


def published_first_looks(folder: Path | None = None) -> pd.DataFrame:
    """A row a chip, model and size of photographs: what a first look at an image costs.

    Columns: `pairs` measured; `none_s`, the median of seconds without a cache; `ratio`, the median of
    what it takes with an empty one over that.

    Args:
        folder: of files that `benchmarks/miss_cost.py` wrote; the shipped ones by default.

    Raises:
        ValueError: a file there is something else.
    """
    return _rows(folder or data_path("results", "misses"), _first_looks)


def plot_results(results: pd.DataFrame, session: str = "album") -> Picture:
    """Sums of TTFT by arm, a panel a model and size, of one session without a prompt cache.

    Args:
        results: what `published_results` gives, of one chip.
        session: which session.

    Raises:
        ValueError: there are no results of that session.
    """
    from visioncache.plots.style import ARMS, TEXT, Picture, greys

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


def _rows(folder: Path, of_file: Callable[[dict[str, Any]], list[dict[str, Any]]]) -> pd.DataFrame:
    """Convert every file in a folder; raise ValueError, in one line, for one that is something else."""
    rows: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*.json")):
        try:
            rows += of_file(json.loads(path.read_text(encoding="utf-8")))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is not what benchmarks/ writes there: {error!r}") from None
    return pd.DataFrame(rows)


def _bits(content: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for (size, session), turns in pd.DataFrame(content["turns"]).groupby(["size", "session"], sort=False):
        single = turns["images"] == 1
        rows.append(
            {
                "chip": content["machine"]["chip"],
                "model": content["model"],
                "attention": content["attention"],
                "size": size,
                "session": session,
                "single": int(single.sum()),
                "single_as_none": int(turns["given_as_none"][single].sum()),
                "several": int((~single).sum()),
                "several_as_none": int(turns["given_as_none"][~single].sum()),
                "given_repeats": int((turns["given_most"] == 1).sum()),
                "logits_repeat": int((turns["logits_most"] == 1).sum()),
                "logits_apart": float((turns["apart"] / turns["deviation"]).max()),
            }
        )
    return rows


def _first_looks(content: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "chip": run["machine"]["chip"],
            "model": content["model"],
            "size": run["size"],
            "pairs": len(run["pairs_s"]),
            "none_s": run["none_s"],
            "ratio": run["ratio"],
        }
        for run in content["runs"]
    ]


def pixels(size: str) -> int:
    """Count the pixels of a size such as 1280x960."""
    width, height = size.split("x")
    return int(width) * int(height)


def _hits_of_bound(turns: pd.DataFrame) -> dict[str, float]:
    """By session: seconds of our turns without a miss over those of `bound`, the median of trials."""
    arms = turns.pivot_table("ttft_s", ["session", "trial", "turn"], "arm")
    if "bound" not in arms or "visioncache" not in arms:
        return {}
    ours = turns[turns["arm"] == "visioncache"].set_index(["session", "trial", "turn"])
    hit = ours.index[(ours["misses"] == 0) & (ours["hits"] > 0)]
    sums = arms.loc[hit, ["visioncache", "bound"]].groupby(["session", "trial"]).sum()
    return dict((sums["visioncache"] / sums["bound"]).groupby("session").median())
