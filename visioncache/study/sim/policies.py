"""Eviction policies to compare, each a function from a trace's arrays and a capacity to its hits."""

from __future__ import annotations

import random
from functools import partial
from operator import index
from typing import TYPE_CHECKING, Any

import numpy as np

from visioncache.cache import VisionFeatureCache
from visioncache.study.sim.gdsf import gdsf
from visioncache.study.sim.outcome import Asked, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class MissingExtraError(ImportError):
    """A policy that an extra brings, which is not installed."""


def ours(asked: Asked, capacity: int) -> Outcome:
    """VisionFeatureCache itself, with bytes for values."""
    cache = VisionFeatureCache(None, capacity, log=0, clock=float, sizer=index)
    hits = np.zeros(len(asked.keys), np.bool_)
    texts = [str(key) for key in range(int(asked.keys.max()) + 1)]
    for i, (key, size) in enumerate(zip(asked.keys.tolist(), asked.sizes.tolist(), strict=True)):
        if cache.get(texts[key]) is not None:
            hits[i] = True
        else:
            cache.put(texts[key], size)
    return Outcome(hits, cache.info().evictions)


def by_cachetools(name: str, asked: Asked, capacity: int) -> Outcome:
    """One of cachetools' caches (MIT): FIFO, LFU, LRU, or RR with a seeded choice."""
    try:
        import cachetools
    except ImportError:
        raise MissingExtraError(f"{name} is cachetools': pip install visioncache[sim]") from None
    options = {"choice": random.Random(0).choice} if name == "RRCache" else {}  # noqa: S311  # no secret
    cache = getattr(cachetools, name)(capacity, getsizeof=index, **options)
    hits = np.zeros(len(asked.keys), np.bool_)
    stored = 0
    for i, (key, size) in enumerate(zip(asked.keys.tolist(), asked.sizes.tolist(), strict=True)):
        if key in cache:
            cache[key]  # a look-up, which the policy counts
            hits[i] = True
        elif size <= capacity:
            cache[key] = size
            stored += 1
    return Outcome(hits, stored - len(cache))


def by_libcachesim(name: str, asked: Asked, capacity: int) -> Outcome:
    """One of libCacheSim's (GPL-3.0-or-later, so never a dependency): what the extra `sim` brings.

    Raises:
        MissingExtraError: libcachesim is not installed.
        ValueError: the capacity is smaller than the policy can divide into its queues.
    """
    try:
        import libcachesim
    except ImportError:
        raise MissingExtraError(f"{name} is libcachesim's: pip install visioncache[sim]") from None
    largest = int(asked.sizes[asked.sizes <= capacity].max(initial=1))
    options = {}
    if name in _QUEUES:
        option, share, least = _QUEUES[name]
        if capacity < least * largest:
            # Not only useless: the library would end the process.
            raise ValueError(f"{name} needs a capacity of {least} times its largest value, {largest}")
        # Its small queue must be larger than the largest value, or such values are never admitted.
        options[option] = max(share, (largest + 1.01) / capacity)
    cache = getattr(libcachesim, name)(capacity, hashpower=16, **options)
    hits = np.zeros(len(asked.keys), np.bool_)
    misses = 0
    for i, (key, size) in enumerate(zip(asked.keys.tolist(), asked.sizes.tolist(), strict=True)):
        if size > capacity:
            continue
        request = libcachesim.Request(obj_id=key, obj_size=max(size, 1), op=libcachesim.ReqOp.OP_GET)
        hits[i] = cache.get(request)
        misses += not hits[i]
    return Outcome(hits, misses - cache.get_n_obj())


_QUEUES = {"S3FIFO": ("small_size_ratio", 0.1, 4), "WTinyLFU": ("window_size", 0.01, 8)}
"""What divides its capacity: the option for the small queue's share, that share as published, and
how many of the largest value the whole must hold (W-TinyLFU's main part is four segments)."""

POLICIES: dict[str, Callable[[Asked, int], Outcome]] = {
    "visioncache": ours,
    "gdsf": gdsf,
    "lru": partial(by_cachetools, "LRUCache"),
    "fifo": partial(by_cachetools, "FIFOCache"),
    "lfu": partial(by_cachetools, "LFUCache"),
    "random": partial(by_cachetools, "RRCache"),
    "sieve": partial(by_libcachesim, "Sieve"),
    "s3-fifo": partial(by_libcachesim, "S3FIFO"),
    "w-tinylfu": partial(by_libcachesim, "WTinyLFU"),
    "arc": partial(by_libcachesim, "ARC"),
    "gdsf-size": partial(by_libcachesim, "GDSF"),
}
"""By the name that `replay` knows them by. "gdsf" weighs encode seconds, "gdsf-size" bytes alone."""


def available(names: Iterable[str] = POLICIES) -> list[str]:
    """Those of some policies that can run here, whatever extras are installed."""
    tiny = Asked(np.zeros(1, np.int64), np.ones(1, np.int64), np.zeros(1))
    found = []
    for name in names:
        try:
            POLICIES[name](tiny, 16)
        except MissingExtraError:
            continue
        found.append(name)
    return found


def run_policy(name: str, asked: Asked, capacity: int) -> Outcome:
    """A policy by name; ValueError when there is none of that name."""
    policy: Any = POLICIES.get(name)
    if policy is None:
        raise ValueError(f"no policy {name!r}; there are: {', '.join(POLICIES)}")
    return policy(asked, capacity)  # type: ignore[no-any-return]
