"""Watch: notice when anything that was described is another object now, in a few passes that run in C."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate, chain, compress, count
from operator import attrgetter, is_, is_not, ne
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from visioncache.vlm.patching.functions import untaken
from visioncache.vlm.patching.instances import class_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    Counts = Callable[[Any, Any], bool]

_CODE = attrgetter("__code__")
_FUNCTION = (_CODE, attrgetter("__defaults__"), attrgetter("__kwdefaults__"))
_FIELDS = attrgetter("__dict__")
_EMPTY = object()


class Watch:
    """The containers, objects and functions that were described, with what they held when they were.

    Identities are compared, so an array that is written into (`weight[0] = 1`) is not noticed.
    """

    def __init__(self) -> None:
        self._dicts = _Mappings(dict)
        self._classes = _Mappings(MappingProxyType)
        self._lists: list[tuple[list[Any], list[Any]]] = []
        self._sets: list[tuple[Any, list[Any], frozenset[int]]] = []
        self._kinds: dict[int, tuple[Any, type]] = {}
        self._fields: list[tuple[Any, dict[str, Any]]] = []
        self._slots: list[tuple[Any, str, Any]] = []
        self._idle: list[tuple[dict[str, Any], int]] = []
        self._codes: dict[int, tuple[Any, Any]] = {}
        self._functions: dict[int, tuple[Any, tuple[Any, Any, Any]]] = {}
        self._cells: list[tuple[Any, Any]] = []
        self._names: dict[int, tuple[dict[str, Any], dict[str, Any]]] = {}
        self._told: list[tuple[Callable[[], Any], Any]] = []
        self._checks: tuple[Callable[[], bool], ...] = ()

    def mapping(self, mapping: Any, counts: Counts | None = None) -> dict[Any, Any]:
        """Give what a dict or a class's namespace holds; watched are the entries that count, or all."""
        group = self._classes if isinstance(mapping, MappingProxyType) else self._dicts
        return group.add(mapping, counts)

    def items(self, items: list[Any]) -> list[Any]:
        """Give the items of a list, which is watched."""
        self._lists.append((items, list.copy(items)))
        return self._lists[-1][1]

    def members(self, members: Any) -> list[Any]:
        """Give the members of a set, which is watched."""
        held = list(members)
        self._sets.append((members, held, frozenset(map(id, held))))
        return held

    def kind(self, value: Any) -> type:
        """Give an object's class, the one before it was attached; that it has this class is watched."""
        self._kinds[id(value)] = value, class_of(value)
        return self._kinds[id(value)][1]

    def fields(self, value: Any, counts: Counts | None = None) -> dict[str, Any]:
        """Give an object's attributes, which are watched; of those that don't count, how many they are."""
        fields = value.__dict__
        if counts is not None and not any(map(counts, fields, fields.values())):
            self._idle.append((fields, len(fields)))
            return {}
        self._fields.append((value, fields))
        return self.mapping(fields, counts)

    def slots(self, value: Any, names: Iterable[str]) -> dict[str, Any]:
        """Give what an object's slots hold, which is watched; empty ones are left out."""
        held = {name: getattr(value, name, _EMPTY) for name in names}
        self._slots += [(value, name, one) for name, one in held.items()]
        return {name: one for name, one in held.items() if one is not _EMPTY}

    def function(self, function: Any) -> tuple[Any, Any, Any]:
        """Give a function's code, defaults and defaults of keywords, which are watched."""
        held = function.__code__, function.__defaults__, function.__kwdefaults__
        self._functions[id(function)] = function, held
        return held

    def code(self, function: Any) -> Any:
        """Give the code alone of a library's function, which is watched."""
        self._codes[id(function)] = function, function.__code__
        return function.__code__

    def cell(self, cell: Any) -> Any:
        """Give what a closure's variable holds, which is watched; itself where it is empty."""
        self._cells.append((cell, _content(cell)))
        return self._cells[-1][1]

    def name(self, namespace: dict[str, Any], name: str) -> Any:
        """Give a module's global by its name, which is watched; None where there is none."""
        _, held = self._names.setdefault(id(namespace), (namespace, {}))
        return held.setdefault(name, namespace.get(name))

    def told(self, tell: Callable[[], Any]) -> Any:
        """Give what a call answers, which is watched: for what changes without becoming another object."""
        self._told.append((tell, tell()))
        return self._told[-1][1]

    def changed(self) -> bool:
        """Whether anything that counts is another object than when it was given."""
        self._checks = self._checks or self._sealed()
        try:
            return not all(check() for check in self._checks)
        except RuntimeError:  # another thread is changing one of them
            return True

    def _sealed(self) -> tuple[Callable[[], bool], ...]:
        """The checks, each over everything of a kind at once."""
        lists, items = _columns(self._lists)
        lengths, flat = [*map(len, items)], [*chain.from_iterable(items)]
        objects, owns = _columns([*self._kinds.values()])
        kinds = [*map(type, objects)]
        owners, fields = _columns(self._fields)
        functions, held = _columns([*self._functions.values()])
        parts = [*zip(_FUNCTION, zip(*held, strict=True), strict=False)]
        library, codes = _columns([*self._codes.values()])
        idle, few = _columns(self._idle)
        cells, contents = _columns(self._cells)
        return (
            self._dicts.sealed(),
            self._classes.sealed(),
            lambda: [*map(len, lists)] == lengths and _same(chain.from_iterable(lists), flat),
            lambda: all(len(now) == len(ids) and ids.issuperset(map(id, now)) for now, _, ids in self._sets),
            lambda: _same(map(type, objects), kinds) or _are_still(objects, kinds, owns),
            lambda: _same(map(_FIELDS, owners), fields),
            lambda: all(getattr(one, name, _EMPTY) is held for one, name, held in self._slots),
            lambda: all(_same(map(part, functions), then) for part, then in parts),
            lambda: _same(map(_CODE, library), codes),
            lambda: [*map(len, idle)] == few,
            lambda: _same(map(_content, cells), contents),
            lambda: all(_names(now, held) for now, held in self._names.values()),
            lambda: all(tell() == told for tell, told in self._told),
        )


class _Mappings:
    """Mappings of a kind, and what each held; a class of it may show other names than it holds."""

    def __init__(self, kind: type[dict[Any, Any] | MappingProxyType[Any, Any]]) -> None:
        self._names: Callable[[Any], Collection[Any]] = kind.keys
        self._values: Callable[[Any], Iterable[Any]] = kind.values
        self._all: list[tuple[Any, Counts | None, dict[Any, Any]]] = []

    def add(self, mapping: Any, counts: Counts | None) -> dict[Any, Any]:
        held = dict(zip(self._names(mapping), self._values(mapping), strict=True))
        self._all.append((mapping, counts, held))
        return held

    def sealed(self) -> Callable[[], bool]:
        self._look()
        return self._hold

    def _look(self) -> None:
        held = [held for _, _, held in self._all]
        mappings = [mapping for mapping, _, _ in self._all]
        self._shown = [*map(self._names, mappings)]
        self._views = [*map(self._values, mappings)]
        self._sizes = [*map(len, held)]
        self._starts = [0, *accumulate(self._sizes)]
        self._keys = [*chain.from_iterable(held)]
        self._held = [*chain.from_iterable(map(dict.values, held))]

    def _hold(self) -> bool:
        """Whether every entry that counts is the same object."""
        sizes = [*map(len, self._shown)]
        if sizes != self._sizes:
            rows = _places(map(ne, sizes, self._sizes))
            if not all(map(self._is_still, rows)):
                return False
            self._look()
        keys, held = [*chain.from_iterable(self._shown)], [*chain.from_iterable(self._views)]
        if len(keys) != len(self._keys) or len(held) != len(keys):
            return False  # another thread is changing one
        if keys == self._keys and _same(held, self._held):
            return True
        others = {*_places(map(ne, keys, self._keys)), *_places(map(is_not, held, self._held))}
        if not all(map(self._is_still, {bisect_right(self._starts, place) - 1 for place in others})):
            return False
        self._keys, self._held = keys, held  # the next time, by the short way again
        return True

    def _is_still(self, row: int) -> bool:
        """Whether the entries that count of one mapping are the same objects."""
        mapping, counts, held = self._all[row]
        now = dict(zip(self._names(mapping), self._values(mapping), strict=True))
        if not _is_alike(now, held, counts):
            return False  # and what is held stays: whoever asks again hears of it again
        self._all[row] = mapping, counts, now
        return True


def _names(now: dict[str, Any], held: dict[str, Any]) -> bool:
    """Whether a module's globals are the same objects, but for functions that an attachment took."""
    if _same(map(now.get, held), held.values()):
        return True
    return all(untaken(now.get(name)) is untaken(value) for name, value in held.items())


def _is_alike(now: dict[Any, Any], held: dict[Any, Any], counts: Counts | None) -> bool:
    now, held = _own(now, held, counts), _own(held, now, counts)
    return len(now) == len(held) and all(
        name in held and (held[name] is now[name] or untaken(held[name]) is untaken(now[name]))
        for name in now
    )


def _own(fields: dict[Any, Any], others: dict[Any, Any], counts: Counts | None) -> dict[Any, Any]:
    """The entries that count, without the methods that an attachment puts before inherited ones."""
    return {
        name: value
        for name, value in fields.items()
        if (counts is None or counts(name, value)) and (name in others or untaken(value) is value)
    }


def _are_still(objects: list[Any], kinds: list[type], owns: list[type]) -> bool:
    """Whether objects are of the classes that they had, but for being attached; these are theirs then."""
    if not _same(map(class_of, objects), owns):
        return False
    kinds[:] = map(type, objects)  # the next time, by the short way again
    return True


def _places(marks: Iterable[bool]) -> Iterable[int]:
    """Numbers of those that are true."""
    return compress(count(), marks)


def _same(now: Iterable[Any], held: Iterable[Any]) -> bool:
    """Whether two rows of objects, of one length, are the same."""
    return all(map(is_, now, held))


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return cell


def _columns(rows: list[tuple[Any, Any]]) -> tuple[list[Any], list[Any]]:
    return [row[0] for row in rows], [row[1] for row in rows]
