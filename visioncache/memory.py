"""Memory: what the device can hold, how much of it a cache may take, and when to give it back."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from visioncache.sizes import parse_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from visioncache.cache import VisionFeatureCache
    from visioncache.events import Event

AUTO_FRACTION = 0.25
"""The share of the device's memory that `max_bytes="auto"` is."""
PRESSURE_FRACTION = 0.85
"""The share of it that mlx may use before `on_pressure` evicts."""

_DEVICE_KEYS = ("max_recommended_working_set_size", "total_memory", "memory_size")
"""Names in `mx.device_info()`: Metal's working set first, then CUDA's total, then all memory."""


def on_gpu() -> bool:
    """Tell whether mlx computes on a GPU by default."""
    import mlx.core as mx

    return bool(mx.default_device() == mx.gpu)


def device() -> str:
    """Name the kind of device that mlx computes on by default: another kind gives other last bits."""
    return _gpu() if on_gpu() else f"cpu {platform.machine()}"


@cache
def _gpu() -> str:
    import mlx.core as mx

    return str(mx.device_info().get("architecture", "gpu"))


def device_memory() -> int:
    """Bytes that arrays can take on mlx's default device.

    On Metal the working set that the system recommends, on CUDA the GPU's memory, on a CPU the
    machine's memory or what its control group allows.
    """
    import mlx.core as mx

    info = mx.device_info() if on_gpu() else {}
    for key in _DEVICE_KEYS:
        if info.get(key):
            return int(info[key])
    return min([_system_memory(), *_group_limits()])


def auto_budget() -> int:
    """Bytes that `max_bytes="auto"` stands for: `AUTO_FRACTION` of `device_memory()`."""
    return int(AUTO_FRACTION * device_memory())


def on_pressure(
    cache: VisionFeatureCache,
    mark: float | str | None = None,
    *,
    used: Callable[[], int] | None = None,
) -> Callable[[], None]:
    """Have a cache give memory back when mlx uses more than a mark; returns the way to stop it.

    At every look-up and put, what is above the mark is evicted, unpinned entries oldest first. What
    somebody else still holds stays in memory, whoever evicts it.

    Args:
        cache: which cache.
        mark: bytes of mlx's active memory, as a number or text ("20 GiB"); None for
            `PRESSURE_FRACTION` of `device_memory()`.
        used: bytes in use, as `mx.get_active_memory` gives them.
    """
    import mlx.core as mx

    limit = int(PRESSURE_FRACTION * device_memory()) if mark is None else parse_size(mark)
    measure = used or mx.get_active_memory

    def relieve(event: Event) -> None:
        if event.kind in {"hit", "miss", "put", "store-hit"} and (surplus := measure() - limit) > 0:
            cache.trim(surplus)

    return cache.subscribe(relieve)


def _system_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _group_limits() -> list[int]:
    """Bytes that Linux control groups (version 2, version 1) allow, where they limit anything."""
    limits = []
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(path).read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            limits.append(int(text))
    return limits
