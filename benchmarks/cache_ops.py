"""Measure a cache's own bookkeeping: get, put, evict and Key.of, in nanoseconds.

Ours beside mlx-vlm's class and cachetools.LRUCache on full caches of 20, 1,000 and 100,000 entries,
interleaved in one run. The other two neither lock, count, measure nor log; the difference is what
that costs. Every number is the median of the trials, each the mean of one pass over `--calls` calls,
in this thread's processor time, so that a busy machine shows less.

    python benchmarks/cache_ops.py [--trials 9] [--calls 20000]
"""

from __future__ import annotations

import argparse
import platform
import random
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cachetools
import mlx.core as mx
import mlx_vlm.vision_cache
import numpy as np
from PIL import Image

from visioncache import Key, VisionFeatureCache

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ENTRIES = (20, 1_000, 100_000)
FEATURES = mx.zeros((4, 8))
LIMIT = 8
"""A get of ours may cost so many of mlx-vlm's bare dictionary, at 20 entries."""


class CacheTools(cachetools.LRUCache):
    """cachetools' LRU, with a put by that name."""

    put = cachetools.LRUCache.__setitem__


CACHES: dict[str, Callable[[int], Any]] = {
    "visioncache": VisionFeatureCache,
    "mlx-vlm": mlx_vlm.vision_cache.VisionFeatureCache,
    "cachetools": CacheTools,
}

Trials = dict[tuple[str, str], list[float]]
"""Nanoseconds of every trial, by operation (or source) and implementation."""


def ns_each(call: Callable[[Any], Any], arguments: Sequence[Any]) -> float:
    """Mean nanoseconds of a call over one pass."""
    start = time.thread_time_ns()
    for argument in arguments:
        call(argument)
    return (time.thread_time_ns() - start) / len(arguments)


def ns_each_put(put: Callable[[Any, Any], Any], names: Sequence[str]) -> float:
    """Mean nanoseconds of a put over one pass."""
    start = time.thread_time_ns()
    for name in names:
        put(name, FEATURES)
    return (time.thread_time_ns() - start) / len(names)


def measure_caches(entries: int, trials: int, calls: int) -> Trials:
    """Hits, overwrites and evictions (puts of new names) on full caches.

    A hot get asks for 20 of the entries again and again: the work of the cache itself. A get of any
    entry also waits for memory when there are many.
    """
    rng = random.Random(entries)
    names = [f"images/{number:07}.jpg" for number in range(entries)]
    caches = {label: make(entries) for label, make in CACHES.items()}
    taken: Trials = defaultdict(list)
    for trial in range(trials + 1):
        held = rng.choices(names, k=calls)
        hot = rng.choices(names[:: entries // ENTRIES[0]], k=calls)
        new = [f"images/{trial}/{number}.jpg" for number in range(calls)]
        for label, cache in caches.items():
            ns_each_put(cache.put, names)  # whatever was evicted is back
            passes = {
                "get, hot": ns_each(cache.get, hot),
                "get, any": ns_each(cache.get, held),
                "put": ns_each_put(cache.put, held),
                "evict": ns_each_put(cache.put, new),
            }
            if trial:  # the first one warms up
                for operation, ns in passes.items():
                    taken[operation, label].append(ns)
    return taken


def measure_keys(trials: int, calls: int) -> Trials:
    """The key of every kind of source, by ours and by mlx-vlm's."""
    pixels = np.random.default_rng(0).integers(0, 256, (960, 1280, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "photo.jpg")
        Image.fromarray(pixels).save(path)
        few = max(calls // 1000, 3)
        sources: list[tuple[str, Any, int]] = [
            ("str", "images/0000001.jpg", calls),
            ("list of 4 str", [f"images/{number:07}.jpg" for number in range(4)], calls),
            (f"bytes, {path.stat().st_size // 1000} kB", path.read_bytes(), few),
            ("Path, file unchanged", path, calls // 20),
            ("PIL image, 1280x960", Image.fromarray(pixels), few),
            ("numpy array, 1280x960x3", pixels, few),
        ]
        theirs = mlx_vlm.vision_cache.VisionFeatureCache()._make_key  # noqa: SLF001
        taken: Trials = defaultdict(list)
        for trial in range(trials + 1):
            for label, source, count in sources:
                for name, call in {"visioncache": Key.of, "mlx-vlm": theirs}.items():
                    if name == "mlx-vlm" and isinstance(source, (Path, bytes)):
                        continue  # it keys these by id(), which says nothing about the image
                    ns = ns_each(call, [source] * count)
                    if trial:
                        taken[label, name].append(ns)
    return taken


def report(title: str, taken: Trials, columns: Sequence[str]) -> None:
    """One table: a row an operation, a column an implementation, and the ratio to mlx-vlm's."""
    print(f"\n{title:26}" + "".join(f"{name:>14}" for name in columns) + f"{'ours / mlx-vlm':>18}")
    for row in dict.fromkeys(operation for operation, _ in taken):
        medians = {name: statistics.median(taken[row, name]) for name in columns if (row, name) in taken}
        cells = [f"{medians[name]:14,.0f}" if name in medians else f"{'-':>14}" for name in columns]
        ratio = (
            f"{medians['visioncache'] / medians['mlx-vlm']:17.1f}x" if "mlx-vlm" in medians else f"{'-':>18}"
        )
        print(f"{row:26}" + "".join(cells) + ratio)


def main() -> int:
    """Print the tables; exit status 1 when a get breaks its promise."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--trials", type=int, default=9)
    parser.add_argument("--calls", type=int, default=20_000)
    arguments = parser.parse_args()

    packages = ", ".join(f"{name} {version(name)}" for name in ("mlx-vlm", "cachetools", "blake3"))
    print(f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}, {packages}")
    print(f"ns a call; median of {arguments.trials} trials of {arguments.calls:,} calls")
    gets = {}
    for entries in ENTRIES:
        taken = measure_caches(entries, arguments.trials, arguments.calls)
        report(f"{entries:,} entries", taken, list(CACHES))
        gets[entries] = {name: statistics.median(taken["get, hot", name]) for name in CACHES}
    report("Key.of", measure_keys(arguments.trials, arguments.calls), ["visioncache", "mlx-vlm"])

    ours, theirs = gets[ENTRIES[0]]["visioncache"], gets[ENTRIES[0]]["mlx-vlm"]
    growth = {name: gets[ENTRIES[-1]][name] / gets[ENTRIES[0]][name] for name in CACHES}
    print(f"\nA get at {ENTRIES[0]} entries costs {ours / theirs:.1f} of mlx-vlm's (at most {LIMIT}).")
    ratios = ", ".join(f"{name} {ratio:.1f}" for name, ratio in growth.items())
    print(f"A hot get at {ENTRIES[-1]:,} entries over one at {ENTRIES[0]}: {ratios}.")
    return 0 if ours <= LIMIT * theirs else 1


if __name__ == "__main__":
    sys.exit(main())
