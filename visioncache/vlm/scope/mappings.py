"""Mappings: notice when dicts or classes' namespaces hold other objects than they held."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate, chain, compress, count
from operator import is_, is_not, ne
from typing import TYPE_CHECKING, Any

from visioncache.vlm.patching.functions import untaken

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from types import MappingProxyType

    Counts = Callable[[Any, Any], bool]


class Mappings:
    """Mappings of a kind, and what each held; a class of it may show other names than it holds."""

    def __init__(self, kind: type[dict[Any, Any] | MappingProxyType[Any, Any]]) -> None:
        self._names: Callable[[Any], Collection[Any]] = kind.keys
        self._values: Callable[[Any], Iterable[Any]] = kind.values
        self._all: list[tuple[Any, Counts | None, dict[Any, Any]]] = []
        self._in_order: dict[int, Any] = {}

    def add(self, mapping: Any, counts: Counts | None, *, in_order: bool = False) -> dict[Any, Any]:
        """Give what a mapping holds; watched are the entries that count, or all, and perhaps their order."""
        held = dict(zip(self._names(mapping), self._values(mapping), strict=True))
        self._all.append((mapping, counts, held))
        if in_order:
            self._in_order[id(mapping)] = mapping
        return held

    def values(self) -> Iterator[Any]:
        """Give what the mappings hold now."""
        return chain.from_iterable(self._values(mapping) for mapping, _, _ in self._all)

    def __len__(self) -> int:
        return len(self._all)

    def sealed(self) -> Callable[[], bool]:
        """Give the check of all of them at once."""
        self._look()
        return self._hold

    def _look(self) -> None:
        held = [held for _, _, held in self._all]
        mappings = [mapping for mapping, _, _ in self._all]
        self._seen = (  # replaced at once, as several attachments look at it, from any thread
            [*map(self._names, mappings)],
            [*map(self._values, mappings)],
            sizes := [*map(len, held)],
            [0, *accumulate(sizes)],
            [*chain.from_iterable(held)],
            [*chain.from_iterable(map(dict.values, held))],
        )

    def _hold(self) -> bool:
        """Tell whether every entry that counts is the same object."""
        sizes = [*map(len, self._seen[0])]
        if sizes != self._seen[2]:
            rows = _places(map(ne, sizes, self._seen[2]))
            if not all(map(self._is_still, rows)):
                return False
            self._look()
        shown, views, sizes, starts, names, values = self._seen
        keys, held = [*chain.from_iterable(shown)], [*chain.from_iterable(views)]
        if len(keys) != len(names) or len(held) != len(keys):
            return False  # another thread is changing one
        if keys == names and same(held, values):
            return True
        others = {*_places(map(ne, keys, names)), *_places(map(is_not, held, values))}
        if not all(map(self._is_still, {bisect_right(starts, place) - 1 for place in others})):
            return False
        self._seen = shown, views, sizes, starts, keys, held  # the next time, by the short way again
        return True

    def _is_still(self, row: int) -> bool:
        """Tell whether the entries that count of one mapping are the same objects."""
        mapping, counts, held = self._all[row]
        now = dict(zip(self._names(mapping), self._values(mapping), strict=True))
        if not _is_alike(now, held, counts) or (id(mapping) in self._in_order and [*now] != [*held]):
            return False  # and what is held stays: whoever asks again hears of it again
        self._all[row] = mapping, counts, now
        return True


def _is_alike(now: dict[Any, Any], held: dict[Any, Any], counts: Counts | None) -> bool:
    now, held = _own(now, held, counts), _own(held, now, counts)
    return len(now) == len(held) and all(
        name in held and (held[name] is now[name] or untaken(held[name]) is untaken(now[name]))
        for name in now
    )


def _own(fields: dict[Any, Any], others: dict[Any, Any], counts: Counts | None) -> dict[Any, Any]:
    """Give the entries that count, without the methods that an attachment puts before inherited ones."""
    return {
        name: value
        for name, value in fields.items()
        if (counts is None or counts(name, value)) and (name in others or untaken(value) is value)
    }


def _places(marks: Iterable[bool]) -> Iterable[int]:
    """Give the numbers of those that are true."""
    return compress(count(), marks)


def same(now: Iterable[Any], held: Iterable[Any]) -> bool:
    """Tell whether two rows of objects, of one length, are the same."""
    return all(map(is_, now, held))
