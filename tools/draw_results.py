"""Draw the charts of the docs, in both themes: python tools/draw_results.py [sessions demo hit-rates granularity].

Each picture says in its description what it is made of: version, and digests of result files or traces with seed and
parameters. `demo` is drawn from data/results/demo, which this writes (on Linux with the BLAS of the mlx wheel):

    visioncache bench album --trials 3 --out data/results/demo/demo-vlm.json
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))

import draw_granularity
from both_themes import save
from published import plot_results, published_results

from visioncache import plots
from visioncache.study import load_result, load_trace, plot_replay, replay
from visioncache.study.data import data_path
from visioncache.study.sim.capacities import working_set_shares
from visioncache.study.sim.gains import SHARES
from visioncache.study.trace.provenance import comment, files_told

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

HIT_RATES = ["visioncache", "fifo", "gdsf"]


def sessions() -> tuple[Figure, str]:
    """Draw the published sessions of the README's chip."""
    results = published_results()
    figure = plot_results(results[results["chip"].str.startswith("NVIDIA")])
    return figure, comment(files_told(sorted(data_path("results", "sessions").glob("*.json"))))


def demo() -> tuple[Figure, str]:
    """Draw the demo model's album, turn by turn."""
    path = data_path("results", "demo", "demo-vlm.json")
    result = load_result(path)
    figure = plots.ttft(result).get_figure(root=True)
    assert figure is not None  # noqa: S101  # for the type checker
    told = {**files_told([path]), "model": result.model, "machine": result.machine}
    return figure, comment(told | {"trials": int(result.turns["trial"].nunique())})


def hit_rates() -> tuple[Figure, str]:
    """Draw what docs/explanation/policies.md simulates: the recorded sessions under three policies."""
    trace = load_trace(sorted(data_path("sessions", "traces").glob("*.jsonl")))
    table = replay(trace, HIT_RATES, working_set_shares(trace, "entries", SHARES), "entries")
    figure = plot_replay(table, by="entries").get_figure(root=True)
    assert figure is not None  # noqa: S101  # for the type checker
    return figure, comment(table.attrs)


CHARTS: dict[str, Callable[[], tuple[Figure, str]]] = {
    "sessions": sessions,
    "demo": demo,
    "hit-rates": hit_rates,
    "granularity": draw_granularity.granularity,
}

if __name__ == "__main__":
    for name in sys.argv[1:] or CHARTS:
        figure, told = CHARTS[name]()
        save(figure, name, told)
