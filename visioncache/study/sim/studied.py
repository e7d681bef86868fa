"""The published study of hit rates: 20 seeds of nine ways of working, read, summed up and computed again."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from visioncache.study.data import data_path
from visioncache.study.sim.gains import granularity_gains, interval, policy_gains
from visioncache.study.trace.workloads import workload

if TYPE_CHECKING:
    from collections.abc import Sequence

SMALL, LARGE = "2-20 % of the working set", "35-110 % of the working set"
"""The two halves of the study's capacities."""
GRANULARITY_SHARES = (0.25, 0.5, 1.0)
"""Capacities at which entries for images and for requests are compared, as shares of the working set."""


def studied(name: Literal["gains", "granularity"]) -> pd.DataFrame:
    """Read a table that `tools/study_hit_rates.py` computed; its `.attrs` say from which traces.

    Columns: those of `policy_gains` or `granularity_gains`.
    """
    text = data_path("results", "hit_rates", f"{name}.csv").read_text(encoding="utf-8")
    head, _, rest = text.partition("\n")
    table = pd.read_csv(io.StringIO(rest))
    table.attrs = json.loads(head.removeprefix("# "))
    return table


def comparable(gains: pd.DataFrame) -> pd.DataFrame:
    """Keep the capacities at which every policy can run, and add which half each is in, as `capacity`."""
    cells = ["workload", "seed", "share"]
    able = gains.groupby(cells)["gain"].transform(lambda values: values.notna().all())
    half = np.where(gains.loc[able, "share"] <= 0.2, SMALL, LARGE)  # noqa: PLR2004
    return gains[able].assign(capacity=pd.Categorical(half, [SMALL, LARGE], ordered=True))


def intervals(table: pd.DataFrame, value: str, by: Sequence[str], form: str = "{:.0f}") -> pd.DataFrame:
    """Write means over workloads and their 95 % intervals, as `42 [13, 68]`.

    Args:
        table: `workload`, `seed`, the value and what `by` names.
        value: the column.
        by: the column that becomes the rows, and the one that becomes the columns if there is one.
        form: how a number is written.
    """
    texts = {
        key: "{} [{}, {}]".format(*(form.format(number) for number in interval(group, value)))
        for key, group in table.groupby([*by] if len(by) > 1 else by[0], observed=True)
    }
    written = pd.Series(texts).rename_axis([*by])
    return written.to_frame("mean over workloads") if len(by) == 1 else written.unstack(sort=False)  # noqa: PD010


def by_seed(table: pd.DataFrame, value: str, rows: str, columns: str) -> pd.DataFrame:
    """Write medians over seeds and the range of 95 % of them, as `9 [4, 52]`."""

    def written(values: pd.Series) -> str:
        low, middle, high = np.percentile(values, [2.5, 50, 97.5])
        return f"{middle:.0f} [{low:.0f}, {high:.0f}]"

    return table.pivot_table(index=rows, columns=columns, values=value, aggfunc=written)


def computed_again(workloads: Sequence[str], seed: int = 0) -> pd.DataFrame:
    """Compute a seed of some workloads again, beside what the published tables say of it.

    Returns:
        A row a table: `rows` that were compared, and `same`, whether all are alike to the digits published.
    """
    traces = {name: [workload(name, seed)] for name in workloads}
    found = {}
    for name, fresh in (
        ("gains", policy_gains(traces, ["gdsf"])),
        ("granularity", granularity_gains(traces, GRANULARITY_SHARES)),
    ):
        keys = [column for column in ("workload", "policy", "share") if column in fresh]
        told = studied(name)  # type: ignore[arg-type]
        both = fresh.merge(told[told["seed"] == seed], on=keys, suffixes=("", "_told"))
        same = np.allclose(both["saved"], both["saved_told"], rtol=1e-3, atol=1e-3)
        found[name] = {"rows": len(both), "same": bool(same and len(both) == len(fresh))}
    return pd.DataFrame(found).T
