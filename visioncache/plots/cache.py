"""Plots of a cache: what it holds and what it did, one function a question.

Each draws on the Axes that it is given, or on new ones, and returns them; nothing global is touched.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import MaxNLocator, PercentFormatter

from visioncache.events import LOOKUPS
from visioncache.plots.style import (
    BLUE,
    GREEN,
    TEXT,
    VERMILLION,
    axes_or_new,
    bytes_axis,
    finish,
    from_zero,
    nothing,
)
from visioncache.sizes import format_size
from visioncache.study.sim.distances import lru_distances
from visioncache.study.sim.optimum import reusable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes

    from visioncache.cache import VisionFeatureCache
    from visioncache.events import Event


NEAR = 4
"""The device's memory is drawn where it is at most so many times what the cache held."""
MOST_BARS = 80
"""Bars of a histogram; distances beyond share them."""


def memory(
    source: VisionFeatureCache | Iterable[Event], ax: Axes | None = None, *, device: bool = True
) -> Axes:
    """Bytes held over time, with a mark at each eviction, and the budget where there is one.

    `source` is a cache or its events; time starts at the first event that is known. What was held
    before the log begins is inferred from a cache, and taken for nothing where there is none.
    With `device`, what MLX uses in all now is a line beside.
    """
    ax = axes_or_new(ax)
    times, held, evicted = _bytes_over_time(source)
    if not times:
        return finish(nothing(ax, "nothing was stored yet"), "Memory held", "seconds", "", legend=False)
    ax.fill_between(times, held, step="post", color=BLUE, alpha=0.25, linewidth=0)
    ax.step(times, held, where="post", color=BLUE, label="held", marker=_mark(times))
    if evicted:
        at = [held[i] for i in evicted]
        ax.plot(
            [times[i] for i in evicted],
            at,
            linestyle="",
            marker="x",
            markersize=6,
            color=VERMILLION,
            label="evicted",
        )
    used = _device_bytes(source) if device else None
    if used:
        near = used <= NEAR * max(held)  # further off it would press everything else flat
        ax.axhline(
            used if near else 0,
            color=GREEN,
            linestyle=":",
            linewidth=1.2,
            alpha=1 if near else 0,
            label=f"MLX uses {format_size(used)} now{'' if near else ', off the scale'}",
        )
    budget = getattr(source, "max_bytes", None)
    if budget is not None:
        ax.axhline(budget, color=TEXT, linestyle="--", linewidth=1, label="budget")
    bytes_axis(ax.yaxis)
    from_zero(ax)
    return finish(ax, "Memory held", "seconds", "", legend=True)


def hit_rate(
    source: VisionFeatureCache | Iterable[Event], ax: Axes | None = None, *, window: int = 50
) -> Axes:
    """The share of look-ups answered, by memory or a store: of all until then, and of the last `window`."""
    ax = axes_or_new(ax)
    found = np.array([event.kind != "miss" for event in _events(source) if event.kind in LOOKUPS], float)
    if not len(found):
        return finish(nothing(ax, "no look-ups yet"), "Hit rate", "look-ups", "", legend=False)
    count = np.arange(1, len(found) + 1)
    total = np.cumsum(found)
    recent = total.copy()
    recent[window:] -= total[:-window]
    if len(found) > window:  # until then it is the line of all
        ax.plot(count, recent / np.minimum(count, window), color=TEXT, linewidth=1, label=f"last {window}")
    ax.plot(count, total / count, color=BLUE, label="all", marker=_mark(count))
    ax.set_xlim(left=0)
    ax.set_ylim(0, 1.03)
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return finish(ax, "Hit rate", "look-ups", "", legend=True)


def reuse_distance(source: VisionFeatureCache | Iterable[Event], ax: Axes | None = None) -> Axes:
    """How many other images came between two uses of one: a cache that holds more would have hit.

    The LRU stack distance (Mattson et al., 1970), counted in images; first uses are left out.
    """
    ax = axes_or_new(ax)
    names = [event.key.text for event in _events(source) if event.kind in LOOKUPS and event.key]
    if not names:
        return finish(
            nothing(ax, "no look-ups yet"), "Reuse distance", "other images in between", "uses", legend=False
        )
    keys = np.unique(names, return_inverse=True)[1].astype(np.int64)
    distances = lru_distances(keys, np.ones(len(keys), np.int64))[reusable(keys)] - 1
    if not len(distances):
        return finish(
            nothing(ax, "nothing was asked for twice yet"),
            "Reuse distance",
            "other images in between",
            "uses",
            legend=False,
        )
    top = int(distances.max(initial=0))
    width = -(-(top + 1) // MOST_BARS)  # of thousands of distances, each bar is of several
    counts = np.bincount(distances // width)
    ax.bar(width * (np.arange(len(counts)) + 0.5) - 0.5, counts, color=BLUE, width=0.85 * width)
    ax.set_xlim(left=-0.5)
    size = getattr(source, "max_size", None)
    if size is not None and size <= 4 * (top + 1):
        ax.axvline(size - 0.5, color=VERMILLION, linestyle="--", linewidth=1.2, label=f"max_size {size}")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    return finish(ax, "Reuse distance", "other images in between", "uses", legend=True)


def entry_bytes(cache: VisionFeatureCache, ax: Axes | None = None, *, most: int = 20) -> Axes:
    """Bytes of each entry, the largest first; the smaller ones of many are one bar, as wide as their mean."""
    ax = axes_or_new(ax)
    entries = sorted(cache.entries(), key=lambda entry: -entry.nbytes)
    shown, rest = entries[:most], entries[most:]
    sizes = [entry.nbytes for entry in shown]
    names = [_short(entry.name) + (", pinned" if entry.pinned else "") for entry in shown]
    hatches = ["///" if entry.pinned else "" for entry in shown]
    if rest:
        whole = sum(entry.nbytes for entry in rest)
        sizes.append(whole // len(rest))  # their sum would dwarf every other bar
        names.append(f"{len(rest):,} others, each")
        hatches.append("")
    if not sizes:
        return finish(nothing(ax, "nothing is held yet"), "Bytes by entry", "", "", legend=False, grid="x")
    bars = ax.barh(range(len(sizes)), sizes, color=BLUE, height=0.7)
    for bar, hatch in zip(bars, hatches, strict=True):
        bar.set_hatch(hatch)
        bar.set_edgecolor("white" if hatch else "none")
        bar.set_linewidth(0)
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    bytes_axis(ax.xaxis)
    return finish(ax, "Bytes by entry", "", "", legend=False, grid="x")


def _mark(points: Any) -> str:
    """The marker of a line: a line of one point would not be seen without."""
    return "o" if len(points) == 1 else ""


def _device_bytes(source: Any) -> int | None:
    """Bytes that MLX uses now, the cache's among them; None of events alone, or where MLX isn't loaded."""
    mx = sys.modules.get("mlx.core")
    return None if mx is None or not hasattr(source, "nbytes") else int(mx.get_active_memory())


def _events(source: VisionFeatureCache | Iterable[Event]) -> list[Event]:
    held: Any = source
    return list(getattr(held, "events", held))


def _bytes_over_time(source: Any) -> tuple[list[float], list[int], list[int]]:
    """Times, bytes held after what happened then, and the places among them where something was evicted."""
    sizes: dict[str, int] = {}
    times: list[float] = []
    held: list[int] = []
    evicted: list[int] = []
    total = 0
    start: float | None = None
    for event in _events(source):
        start = event.time if start is None else start
        key = event.key.text if event.key is not None else ""
        if event.kind in ("put", "store-hit"):  # what the store had is held from then on
            total += event.nbytes - sizes.get(key, 0)
            sizes[key] = event.nbytes
        elif event.kind in ("evict", "pop"):
            sizes.pop(key, None)
            total -= event.nbytes
        elif event.kind == "clear":
            sizes.clear()
            total = 0
        else:
            continue
        # What a put evicts goes at the same moment: nobody ever saw the cache in between.
        if times and times[-1] == event.time - start:
            held[-1] = total
        else:
            times.append(event.time - start)
            held.append(total)
        if event.kind == "evict" and evicted[-1:] != [len(times) - 1]:
            evicted.append(len(times) - 1)
    # The log is bounded: what was held before it begins shows as a difference at its end.
    before = max(0, getattr(source, "nbytes", total) - total)
    return times, [size + before for size in held], evicted


def _short(label: str, most: int = 24) -> str:
    """A label short enough for an axis, as plain text: a `$` would start mathematics."""
    name = label.replace("\\", "/").rstrip("/").rpartition("/")[2] or label
    name = name if len(name) <= most else f"{name[: most - 1]}\N{HORIZONTAL ELLIPSIS}"
    return name.replace("$", r"\$")
