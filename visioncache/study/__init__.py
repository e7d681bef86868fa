"""Research: sessions, benchmarks, traces, simulations and the demo model.

from visioncache.study import replay, miss_ratio_curve, recommend, workload
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visioncache.plots.curves import plot_granularity, plot_miss_ratio, plot_replay
    from visioncache.plots.fit import plot_fit
    from visioncache.plots.panels import plot_gains, plot_replays
    from visioncache.study.benchmark.demo import load_model
    from visioncache.study.benchmark.result import BenchResult, load_result
    from visioncache.study.benchmark.run import bench
    from visioncache.study.benchmark.sessions import load_session
    from visioncache.study.sim.fit import fit_error
    from visioncache.study.sim.granularity import by_request, by_tile, compare_granularity
    from visioncache.study.sim.latency import ttft
    from visioncache.study.sim.mrc import miss_ratio_curve
    from visioncache.study.sim.policies import policy
    from visioncache.study.sim.prefixes import Prefixes
    from visioncache.study.sim.profile import measured
    from visioncache.study.sim.simulate import replay
    from visioncache.study.sim.sizing import enough, recommend
    from visioncache.study.sim.tier import Tier, measured_tier
    from visioncache.study.sim.tiers import simulate_tiers
    from visioncache.study.trace.anonymous import anonymise
    from visioncache.study.trace.fitted import fit
    from visioncache.study.trace.published import published_trace, published_traces
    from visioncache.study.trace.recorder import Recorder
    from visioncache.study.trace.reruns import rerun
    from visioncache.study.trace.traces import load_trace, read_trace, save_trace
    from visioncache.study.trace.workloads import workload
    from visioncache.study.trace.writing import convert

_HOMES = {
    "visioncache.plots.curves": ("plot_granularity", "plot_miss_ratio", "plot_replay"),
    "visioncache.plots.fit": ("plot_fit",),
    "visioncache.plots.panels": ("plot_gains", "plot_replays"),
    "visioncache.study.benchmark.demo": ("load_model",),
    "visioncache.study.benchmark.result": ("BenchResult", "load_result"),
    "visioncache.study.benchmark.run": ("bench",),
    "visioncache.study.benchmark.sessions": ("load_session",),
    "visioncache.study.sim.granularity": ("by_request", "by_tile", "compare_granularity"),
    "visioncache.study.sim.fit": ("fit_error",),
    "visioncache.study.sim.latency": ("ttft",),
    "visioncache.study.sim.prefixes": ("Prefixes",),
    "visioncache.study.sim.profile": ("measured",),
    "visioncache.study.sim.policies": ("policy",),
    "visioncache.study.sim.mrc": ("miss_ratio_curve",),
    "visioncache.study.sim.simulate": ("replay",),
    "visioncache.study.sim.sizing": ("enough", "recommend"),
    "visioncache.study.sim.tier": ("Tier", "measured_tier"),
    "visioncache.study.sim.tiers": ("simulate_tiers",),
    "visioncache.study.trace.fitted": ("fit",),
    "visioncache.study.trace.published": ("published_trace", "published_traces"),
    "visioncache.study.trace.recorder": ("Recorder",),
    "visioncache.study.trace.reruns": ("rerun",),
    "visioncache.study.trace.anonymous": ("anonymise",),
    "visioncache.study.trace.traces": ("load_trace", "read_trace", "save_trace"),
    "visioncache.study.trace.workloads": ("workload",),
    "visioncache.study.trace.writing": ("convert",),
}
"""Modules and their public names; each is imported when first asked for."""

__all__ = [
    "BenchResult",
    "Prefixes",
    "Recorder",
    "Tier",
    "anonymise",
    "bench",
    "by_request",
    "by_tile",
    "compare_granularity",
    "convert",
    "enough",
    "fit",
    "fit_error",
    "load_model",
    "load_result",
    "load_session",
    "load_trace",
    "measured",
    "measured_tier",
    "miss_ratio_curve",
    "plot_fit",
    "plot_gains",
    "plot_granularity",
    "plot_miss_ratio",
    "plot_replay",
    "plot_replays",
    "policy",
    "published_trace",
    "published_traces",
    "read_trace",
    "recommend",
    "replay",
    "rerun",
    "save_trace",
    "simulate_tiers",
    "ttft",
    "workload",
]


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
