"""Research: sessions, benchmarks, traces, simulations and the demo model.

from visioncache.study import replay, miss_ratio_curve, recommend, workload
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visioncache.study.benchmark import bench
    from visioncache.study.curves import plot_granularity, plot_miss_ratio, plot_replay
    from visioncache.study.demo import load_model
    from visioncache.study.granularity import by_request, compare_granularity
    from visioncache.study.mrc import miss_ratio_curve
    from visioncache.study.recorder import Recorder
    from visioncache.study.reruns import rerun
    from visioncache.study.result import BenchResult, load_result
    from visioncache.study.sessions import load_session
    from visioncache.study.simulate import replay
    from visioncache.study.sizing import recommend
    from visioncache.study.traces import anonymise, load_trace, read_trace, save_trace
    from visioncache.study.workloads import workload

_HOMES = {
    "benchmark": ("bench",),
    "demo": ("load_model",),
    "sessions": ("load_session",),
    "result": ("BenchResult", "load_result"),
    "curves": ("plot_granularity", "plot_miss_ratio", "plot_replay"),
    "granularity": ("by_request", "compare_granularity"),
    "mrc": ("miss_ratio_curve",),
    "sizing": ("recommend",),
    "recorder": ("Recorder",),
    "reruns": ("rerun",),
    "simulate": ("replay",),
    "traces": ("anonymise", "load_trace", "read_trace", "save_trace"),
    "workloads": ("workload",),
}
"""Modules and their public names; each is imported when first asked for."""

__all__ = [
    "BenchResult",
    "Recorder",
    "anonymise",
    "bench",
    "by_request",
    "compare_granularity",
    "load_model",
    "load_result",
    "load_session",
    "load_trace",
    "miss_ratio_curve",
    "plot_granularity",
    "plot_miss_ratio",
    "plot_replay",
    "read_trace",
    "recommend",
    "replay",
    "rerun",
    "save_trace",
    "workload",
]


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
