"""Policies that libraries bring, with the extra `sim`: cachetools (MIT) and libCacheSim (GPL-3.0)."""

from __future__ import annotations

import random
from operator import index
from typing import TYPE_CHECKING, Any

import numpy as np

from visioncache.study.sim.order import drive, is_one_by_one
from visioncache.study.sim.outcome import Asked, CapacityError, Option, Outcome
from visioncache.study.trace.lines import is_count, is_number
from visioncache.study.trace.oracle import RECORD

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_LARGEST = 0.9
_SHARE = Option(
    f"a number above 0 and at most {_LARGEST}", lambda value: is_number(value) and 0 < value <= _LARGEST
)
_OBJECTIVE = Option.of("byte-miss-ratio", "object-miss-ratio")
LIBCACHESIM: dict[str, dict[str, Option]] = {
    "Sieve": {},
    "S3FIFO": {
        "small_size_ratio": _SHARE,
        "ghost_size_ratio": Option("a number from 0 to 100", lambda value: is_number(value, most=100)),
        "move_to_main_threshold": Option("a whole number from 0", is_count),
    },
    "WTinyLFU": {"main_cache": Option.of("LRU", "SLRU", "ARC"), "window_size": _SHARE},
    "ARC": {},
    "GDSF": {},
    "LHD": {},
    "LRB": {"objective": _OBJECTIVE},
    "ThreeLCache": {"objective": _OBJECTIVE},
}
"""Its classes that are used, and the options that each takes; it would end the process for other values."""

_NOTES = {"LHD": "draws at random, so that another run hits a little differently"}

_QUEUES = {"S3FIFO": ("small_size_ratio", 0.1, 4), "WTinyLFU": ("window_size", 0.01, 8)}
"""Divisions of a policy's capacity: the option for the small queue's share, that share as published, and
how many of the largest value the whole must hold (W-TinyLFU's main part is four segments)."""


_UNTOLD = ("LRB", "ThreeLCache")
"""Classes that can't tell what they hold without noting that they were asked."""

LOOK_UP_BY_LOOK_UP = "look-up by look-up, not by request"


class MissingExtraError(ImportError):
    """A policy that an extra brings, which is not installed."""


def by_cachetools(name: str, asked: Asked, capacity: int) -> Outcome:
    """Run one of cachetools' caches: FIFO, LFU, LRU, or RR with a seeded choice.

    Raises:
        MissingExtraError: cachetools is not installed.
    """
    try:
        import cachetools
    except ImportError:
        raise MissingExtraError(f"{name} is cachetools': pip install visioncache[sim]") from None
    options = {"choice": random.Random(0).choice} if name == "RRCache" else {}  # noqa: S311  # no secret
    cache = getattr(cachetools, name)(capacity, getsizeof=index, **options)
    stored = 0

    def put(key: int, size: int) -> None:
        nonlocal stored
        if size <= capacity:
            cache[key] = size
            stored += 1

    # A look-up is one that the policy counts; 0 bytes are a value too.
    hits = drive(asked, cache.__contains__, lambda key: cache.get(key) is not None, put)
    return Outcome(hits, stored - len(cache))


def by_libcachesim(name: str, asked: Asked, capacity: int, **options: Any) -> Outcome:
    """Run one of libCacheSim's caches (GPL-3.0-or-later, so never a dependency).

    W-TinyLFU sizes its sketch, and the period after which it forgets, by capacity: it is given capacity
    and sizes in units of the mean value, sizes rounded up. A small queue that could not hold the largest
    value is made larger than published, for such values would never be admitted. LRB and 3L-Cache can't
    tell what they hold without learning from it, so they go look-up by look-up whatever the requests.
    `Outcome.note` says so.

    Raises:
        MissingExtraError: libcachesim is not installed, or was built without that policy.
        CapacityError: the capacity is smaller than the policy can divide into its queues.
    """
    library = _libcachesim(name)
    sizes, notes = np.maximum(asked.sizes, 1), []
    if name == "WTinyLFU" and (unit := _mean_size(asked)) > 1:
        # Rounded up, so that what it holds never has more bytes than the capacity.
        sizes, capacity = -(-sizes // unit), max(capacity // unit, 1)
        notes.append("counts in units of the mean value, rounded up")
    cache, note = _made(library, name, asked.keys, sizes, capacity, options)
    one_by_one = is_one_by_one(asked.requests)
    notes += [*filter(None, [note, LOOK_UP_BY_LOOK_UP if name in _UNTOLD and not one_by_one else ""])]
    request = library.Request(obj_id=0, obj_size=1, op=library.ReqOp.OP_GET)
    if not one_by_one and name not in _UNTOLD:
        return _driven(cache, request, asked._replace(sizes=sizes), capacity, "; ".join(notes))
    hits = np.zeros(len(asked.keys), np.bool_)
    misses = 0
    for i, (key, size) in enumerate(zip(asked.keys.tolist(), sizes.tolist(), strict=True)):
        if size > capacity:
            continue
        request.obj_id, request.obj_size = key, size  # making a new one takes longer than the look-up
        hits[i] = hit = cache.get(request)
        misses += not hit
    return Outcome(hits, misses - cache.get_n_obj(), "; ".join(notes))


def _driven(cache: Any, request: Any, asked: Asked, capacity: int, note: str) -> Outcome:
    """Run a cache of libCacheSim by request: its `get` stores what it misses, so that of a miss waits."""
    size_of = dict(zip(asked.keys.tolist(), asked.sizes.tolist(), strict=True))
    stored = 0

    def holds(key: int) -> bool:
        request.obj_id, request.obj_size = key, size_of[key]
        return size_of[key] <= capacity and cache.find(request, False) is not None  # False: nothing is noted

    def get(key: int) -> bool:
        return holds(key) and bool(cache.get(request))

    def put(key: int, size: int) -> None:
        nonlocal stored
        if size <= capacity:
            request.obj_id, request.obj_size = key, size
            cache.get(request)
            stored += 1

    hits = drive(asked, holds, get, put)
    return Outcome(hits, stored - cache.get_n_obj(), note)


def ratios_by_libcachesim(
    name: str, asked: Asked, capacity: int, path: Path, **options: Any
) -> tuple[float, float, int, str]:
    """Run one of libCacheSim's caches over a file, all in C: hit ratio, byte hit ratio, evictions, note.

    It is `by_libcachesim` without telling which look-ups hit, several times faster, and look-up by look-up.

    Args:
        name: of its class, any but WTinyLFU, which wants other sizes.
        asked: the look-ups.
        capacity: in the units of their sizes.
        path: the same look-ups, as `write_look_ups` wrote them.
        options: the policy's.
    """
    library = _libcachesim(name)
    cache, note = _made(library, name, asked.keys, asked.sizes, capacity, options)
    reader = library.TraceReader(str(path), library.TraceType.ORACLE_GENERAL_TRACE)
    missed, missed_bytes = cache.process_trace(reader)
    stored = round(missed * len(asked.keys)) - int((asked.sizes > capacity).sum())
    if not is_one_by_one(asked.requests):
        note = "; ".join(filter(None, [note, LOOK_UP_BY_LOOK_UP]))
    return 1.0 - missed, 1.0 - missed_bytes, stored - cache.get_n_obj(), note


def write_look_ups(asked: Asked, path: Path) -> bool:
    """Write look-ups as libCacheSim's oracleGeneral; False where it can't hold them."""
    if asked.sizes.min(initial=1) < 1 or asked.sizes.max(initial=1) >= 2**32:
        return False
    records = np.zeros(len(asked.keys), RECORD)
    records["object"], records["size"], records["next"] = asked.keys, asked.sizes, -1
    records.tofile(path)
    return True


def _libcachesim(name: str) -> Any:
    try:
        import libcachesim
    except ImportError:
        raise MissingExtraError(f"{name} is libcachesim's: pip install visioncache[sim]") from None
    return libcachesim


def _made(
    library: Any,
    name: str,
    keys: NDArray[np.int64],
    sizes: NDArray[np.int64],
    capacity: int,
    options: dict[str, Any],
) -> tuple[Any, str]:
    """Make a cache whose queues can hold the largest value, and say if they are larger than published."""
    note = _NOTES.get(name, "")
    largest = int(sizes[sizes <= capacity].max(initial=1))
    if name in _QUEUES:
        option, share, least = _QUEUES[name]
        if capacity < least * largest:
            # Not only useless: the library would end the process.
            raise CapacityError(
                f"{name} needs room for {least} of the largest values, and has room for {capacity // largest}"
            )
        wished = options.setdefault(option, share)
        needed = (largest + 1.01) / capacity
        if capacity * (1 - max(wished, needed)) < least / 2 * largest:
            raise CapacityError(
                f"{option}={wished} leaves too little for the rest of {name}: {capacity} in all"
            )
        if wished < needed:
            note = f"{option} is {needed:.2g}, not {wished}, to hold the largest value"
            options[option] = needed
    # Its hash table has 2^hashpower places.
    power = max(int(keys.max()).bit_length(), 10)
    try:
        return getattr(library, name)(capacity, hashpower=power, **options), note
    except ImportError:
        raise MissingExtraError(f"this build of libcachesim has no {name}") from None


def _mean_size(asked: Asked) -> int:
    _, first = np.unique(asked.keys, return_index=True)
    return max(round(float(asked.sizes[first].mean())), 1)
