"""Results that are published in data/results/sessions: what sessions took, on which chip, of which model."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd

from visioncache.study.bench import load_result
from visioncache.study.data import data_path

if TYPE_CHECKING:
    from pathlib import Path


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
        for (size, prompt_cache), turns in result.turns.groupby(["size", "prompt_cache"], sort=False):
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


def _hits_of_bound(turns: pd.DataFrame) -> dict[str, float]:
    """By session: seconds of our turns without a miss, over those turns' under `bound`."""
    median = turns.pivot_table("ttft_s", ["session", "turn"], "arm", aggfunc="median")
    if "bound" not in median or "visioncache" not in median:
        return {}
    ours = turns[turns["arm"] == "visioncache"]
    hit = ours[(ours["misses"] == 0) & (ours["hits"] > 0)].groupby(["session", "turn"]).size().index
    sums = median.loc[hit, ["visioncache", "bound"]].groupby("session").sum()
    return dict(sums["visioncache"] / sums["bound"])
