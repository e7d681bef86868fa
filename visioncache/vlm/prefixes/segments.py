"""Segments: what one stretch of a prompt adds to a model's caches, taken out and put back.

Caches that hold a row a token are cut: a segment has the rows of its own tokens. A sliding window is cut
too, to the rows that anybody may still look at. Recurrent state, and whatever else can't be cut, is a
snapshot as of the segment's end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mlx.core as mx
from mlx.utils import tree_map
from mlx_vlm.models import cache as kinds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Value = list[mx.array]
    """Stacks of arrays of one shape and dtype."""
    Arrays = list[list[mx.array]]
    """The same, cut apart."""
    Spec = dict[str, Any]

SNAPSHOTS: tuple[type, ...] = (kinds.ChunkedKVCache, kinds.PoolingCache)
"""Caches that are kept whole: mlx-vlm's own snapshot of each restores it, which the tests see."""


def refusal(caches: Sequence[Any]) -> str:
    """Say why the segments of these caches can't be kept; empty where they can."""
    for cache in caches:
        if isinstance(cache, kinds.CacheList):
            if reason := refusal(cache.caches):
                return reason
        elif type(cache) is kinds.RotatingKVCache and cache.keep:
            return "a sliding window that keeps its first tokens"
        elif type(cache) not in (*_CUT, kinds.ArraysCache, *SNAPSHOTS):
            return f"a {type(cache).__name__} can't be cut into segments"
    return ""


def is_fresh(cache: Any) -> bool:
    """Tell if nothing was written to a cache yet."""
    if isinstance(cache, kinds.CacheList):
        return all(map(is_fresh, cache.caches))
    if getattr(cache, "is_speculating", False) or getattr(cache, "lengths", None) is not None:
        return False
    is_empty = getattr(cache, "empty", lambda: True)  # one that can't say is of a kind that is refused
    return bool(is_empty()) and not getattr(cache, "offset", 0)


def described(caches: Sequence[Any]) -> list[Any]:
    """Describe fresh caches: what other settings of theirs would keep differently."""
    found: list[Any] = []
    for cache in caches:
        if isinstance(cache, kinds.CacheList):
            found.append(described(cache.caches))
        else:
            plain = {n: v for n, v in vars(cache).items() if isinstance(v, (int, float, str)) and v}
            found.append([type(cache).__name__, sorted(plain.items())])
    return found


def taken(caches: Sequence[Any], begin: int, end: int) -> tuple[Value, list[Spec]]:
    """Take the segment from token `begin` to `end`, which the caches hold as their last.

    Returns:
        Arrays of its own, evaluated; and, cache by cache, how they lie.
    """
    arrays: list[mx.array] = []

    def keep(array: mx.array) -> int:
        arrays.append(array)
        return len(arrays) - 1

    specs = [_take(cache, begin, end, keep) for cache in caches]
    value, places = _packed(arrays)
    mx.eval(value)
    return value, _placed(specs, places)


def fits(caches: Sequence[Any], specs: Sequence[Spec]) -> bool:
    """Tell if segments can be put into these caches."""
    if len(caches) != len(specs):
        return False
    for cache, spec in zip(caches, specs, strict=True):
        if spec["kind"] != type(cache).__name__ and spec["kind"] != "nothing":
            return False
        if "of" in spec and not fits(cache.caches, spec["of"]):
            return False
    return True


def put(caches: Sequence[Any], segments: Sequence[tuple[Value, list[Spec]]], room: int = 0) -> None:
    """Put consecutive segments into caches, behind what is there, with room for so many tokens more."""
    cut = [([_arrays(group) for group in value], specs) for value, specs in segments]
    for number, cache in enumerate(caches):
        _put(cache, [(value, specs[number]) for value, specs in cut], room)


def _take(cache: Any, begin: int, end: int, keep: Callable[[mx.array], int]) -> Spec:
    kind = type(cache)
    spec: Spec = {"kind": kind.__name__}
    if kind is kinds.CacheList:
        spec["of"] = [_take(child, begin, end, keep) for child in cache.caches]
    elif kind is kinds.ArraysCache:
        spec["state"] = [None if state is None else keep(state) for state in cache.cache]
    elif kind in SNAPSHOTS:
        spec["state"] = _flat(cache.prefix_cache_snapshot(), keep)
    elif cache.keys is None:  # a layer that looks at another one's keys and values
        spec["kind"] = "nothing"
    elif kind is kinds.RotatingKVCache and cache.offset == end:
        most = min(end - begin, cache.max_size)
        rows = (cache._temporal_order(side)[..., -most:, :] for side in (cache.keys, cache.values))  # noqa: SLF001
        spec |= {"rows": [keep(side) for side in rows], "tokens": end - begin}
    else:
        first = begin if cache.offset == end else 0  # its rows are of something else than tokens
        rows = tree_map(lambda side: side[..., first : cache.offset, :], (cache.keys, cache.values))
        spec["rows" if cache.offset == end else "all"] = tree_map(keep, rows)
    return spec


def _put(cache: Any, own: Sequence[tuple[Arrays, Spec]], room: int) -> None:
    last, spec = own[-1]
    if spec["kind"] == "nothing":
        return
    if "of" in spec:
        for number, child in enumerate(cache.caches):
            _put(child, [(value, one["of"][number]) for value, one in own], room)
    elif type(cache) is kinds.ArraysCache:
        cache.cache = [None if place is None else _at(last, place) for place in spec["state"]]
    elif "all" in spec:
        cache.keys = cache.values = None
        _put_rows(cache, [(last, {"rows": spec["all"]})], 0)
    elif "state" in spec:
        cache.prefix_cache_restore(_full(spec["state"], last))
    elif type(cache) is kinds.RotatingKVCache:
        _put_window(cache, own)
    else:
        _put_rows(cache, own, room)


def _put_rows(cache: Any, own: Sequence[tuple[Arrays, Spec]], room: int) -> None:
    held = [] if cache.keys is None else [_tupled((cache.keys, cache.values))]
    before = [tree_map(lambda side: side[..., : cache.offset, :], pair) for pair in held]
    rows = [_rows(value, spec["rows"]) for value, spec in own]
    parts = [*before, *rows]
    first = parts[0][0]
    width = sum((part[0][0] if isinstance(first, tuple) else part[0]).shape[2] for part in parts)
    spare = -(-(width + room) // cache.step) * cache.step - width if room else 0

    def joined(*sides: mx.array) -> mx.array:
        shape = (*sides[0].shape[:2], spare, sides[0].shape[3])
        return mx.concatenate([*sides, mx.zeros(shape, sides[0].dtype)] if spare else list(sides), axis=2)

    cache.keys, cache.values = tree_map(joined, parts[0], *parts[1:])
    cache.offset = width


def _put_window(cache: Any, own: Sequence[tuple[Arrays, Spec]]) -> None:
    """Put a window's rows as prefill leaves them: one window less a row, and the last stretch's."""
    total = sum(spec["tokens"] for _, spec in own)
    wanted = cache.max_size - 1 + own[-1][1]["tokens"]
    rows: list[tuple[mx.array, mx.array]] = []
    held = 0
    for value, spec in reversed(own):
        keys, values = (_at(value, place) for place in spec["rows"])
        rows.insert(0, (keys, values))
        held += keys.shape[2]
        if held >= wanted or keys.shape[2] < spec["tokens"]:
            break
    else:
        if not cache.empty():
            before = tuple(cache._temporal_order(side) for side in (cache.keys, cache.values))  # noqa: SLF001
            rows.insert(0, before)
    keys, values = (mx.concatenate(list(side), axis=2)[..., -wanted:, :] for side in zip(*rows, strict=True))
    cache.keys, cache.values = keys, values
    cache.offset += total
    cache._idx = keys.shape[2]  # noqa: SLF001


def _packed(arrays: Sequence[mx.array]) -> tuple[Value, list[list[int]]]:
    """Stack arrays of one shape and dtype: a few buffers, where each layer had its own."""
    groups: dict[tuple[Any, ...], list[mx.array]] = {}
    places = []
    for array in arrays:
        group = groups.setdefault((array.shape, array.dtype), [])
        places.append([list(groups).index((array.shape, array.dtype)), len(group)])
        group.append(array)
    return [_stacked(group) for group in groups.values()], places


def _stacked(group: list[mx.array]) -> mx.array:
    """Copy arrays into one buffer of their own; `mx.contiguous` would let one keep what it was cut from."""
    nothing = group[0][None][:0]
    return mx.concatenate([*(array[None] for array in group), nothing])


def _arrays(group: mx.array) -> list[mx.array]:
    """Cut stacked arrays apart, in one operation for all of them."""
    if group.ndim == 1:
        return [*group]
    return list(mx.split(group.flatten(0, 1), group.shape[0]))


def _placed(spec: Any, places: Sequence[list[int]]) -> Any:
    """Write, for each array's number, where it lies."""
    if isinstance(spec, dict):
        # A count of tokens is a number of no array.
        return {n: v if n in ("kind", "tokens", "plain") else _placed(v, places) for n, v in spec.items()}
    if isinstance(spec, (list, tuple)):
        return [_placed(item, places) for item in spec]
    return None if spec is None else {"at": places[spec]}


def _at(value: Arrays, place: dict[str, Any]) -> mx.array:
    group, row = place["at"]
    array: mx.array = value[group][row]
    return array


def _rows(value: Arrays, spec: Any) -> Any:
    """Rows as caches hold them: two arrays, or two tuples of what they were quantised to."""
    if isinstance(spec, dict):
        return _at(value, spec)
    return tuple(_rows(value, side) for side in spec)


def _tupled(tree: Any) -> Any:
    """The same arrays in tuples, where mlx returned a list."""
    return tuple(map(_tupled, tree)) if isinstance(tree, (list, tuple)) else tree


def _flat(tree: Any, keep: Callable[[mx.array], int]) -> Any:
    if isinstance(tree, mx.array):
        return keep(tree)
    if isinstance(tree, dict):
        return {name: _flat(item, keep) for name, item in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [_flat(item, keep) for item in tree]
    return None if tree is None else {"plain": tree}


def _full(spec: Any, value: Arrays) -> Any:
    if isinstance(spec, dict):
        if "at" in spec:
            return _at(value, spec)
        return spec["plain"] if "plain" in spec else {name: _full(item, value) for name, item in spec.items()}
    return [_full(item, value) for item in spec] if isinstance(spec, list) else None


_CUT = (kinds.KVCache, kinds.QuantizedKVCache, kinds.RotatingKVCache)
