"""Plots: each draws on the Axes it is given, or on new ones, and returns them; nothing global is touched."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visioncache.plots.cache import entry_bytes, hit_rate, memory, reuse_distance
    from visioncache.plots.latency import runs, stages, ttft

_HOMES = {
    "cache": ("entry_bytes", "hit_rate", "memory", "reuse_distance"),
    "latency": ("runs", "stages", "ttft"),
}

__all__ = ["entry_bytes", "hit_rate", "memory", "reuse_distance", "runs", "stages", "ttft"]


def __getattr__(name: str) -> Any:
    # Lazily: the style alone needs no study, and a study draws in this style.
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"visioncache.plots.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
