"""Plots of a cache: what it holds and what it did, one function a question.

Each draws on the Axes that it is given, or on new ones, and returns them; nothing global is touched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import MaxNLocator, PercentFormatter

from visioncache.events import LOOKUPS
from visioncache.plots.style import BLUE, TEXT, VERMILLION, axes_or_new, bytes_axis, finish, from_zero
from visioncache.study.mrc import lru_distances
from visioncache.study.optimum import reusable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes

    from visioncache.cache import VisionFeatureCache
    from visioncache.events import Event


def memory(source: VisionFeatureCache | Iterable[Event], ax: Axes | None = None) -> Axes:
    """Bytes held over time, with a mark at each eviction, and the budget where there is one.

    `source` is a cache or its events; time starts at the first event that is known. What was held
    before the log begins is inferred from a cache, and taken for nothing where there is none.
    """
    ax = axes_or_new(ax)
    times, held, evicted = _bytes_over_time(source)
    ax.fill_between(times, held, step="post", color=BLUE, alpha=0.25, linewidth=0)
    ax.step(times, held, where="post", color=BLUE, label="held")
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
    count = np.arange(1, len(found) + 1)
    total = np.cumsum(found)
    recent = total.copy()
    recent[window:] -= total[:-window]
    if len(found) > window:  # until then it is the line of all
        ax.plot(count, recent / np.minimum(count, window), color=TEXT, linewidth=1, label=f"last {window}")
    ax.plot(count, total / count, color=BLUE, label="all")
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
    keys = np.unique(names, return_inverse=True)[1].astype(np.int64)
    distances = lru_distances(keys, np.ones(len(keys), np.int64))[reusable(keys)] - 1
    top = int(distances.max(initial=0))
    counts = np.bincount(distances, minlength=top + 1)
    ax.bar(np.arange(len(counts)), counts, color=BLUE, width=0.85)
    size = getattr(source, "max_size", None)
    if size is not None and size <= 4 * (top + 1):
        ax.axvline(size - 0.5, color=VERMILLION, linestyle="--", linewidth=1.2, label=f"max_size {size}")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    return finish(ax, "Reuse distance", "other images in between", "uses", legend=True)


def entry_bytes(cache: VisionFeatureCache, ax: Axes | None = None, *, most: int = 20) -> Axes:
    """Bytes of each entry, the largest first; the smaller ones of many are one bar."""
    ax = axes_or_new(ax)
    entries = sorted(cache.entries(), key=lambda entry: -entry.nbytes)
    shown, rest = entries[:most], entries[most:]
    sizes = [entry.nbytes for entry in shown]
    names = [_short(entry.name) for entry in shown]
    hatches = ["///" if entry.pinned else "" for entry in shown]
    if rest:
        sizes.append(sum(entry.nbytes for entry in rest))
        names.append(f"{len(rest)} others")
        hatches.append("")
    bars = ax.barh(range(len(sizes)), sizes, color=BLUE, height=0.7)
    for bar, hatch in zip(bars, hatches, strict=True):
        bar.set_hatch(hatch)
        bar.set_edgecolor("white" if hatch else "none")
        bar.set_linewidth(0)
    if any(hatches):
        bars[hatches.index("///")].set_label("pinned")
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    bytes_axis(ax.xaxis)
    return finish(ax, "Bytes by entry", "", "", legend=any(hatches), grid="x")


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
