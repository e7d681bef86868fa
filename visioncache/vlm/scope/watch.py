"""Watch: notice when anything that was described is another object now, in a few passes that run in C."""

from __future__ import annotations

from itertools import chain
from operator import attrgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from visioncache.vlm.patching.functions import untaken
from visioncache.vlm.patching.instances import class_of
from visioncache.vlm.scope.mappings import Mappings, same
from visioncache.vlm.scope.written import unwritten

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator

    from visioncache.vlm.scope.mappings import Counts


_CODE = attrgetter("__code__")
_FUNCTION = (_CODE, attrgetter("__defaults__"), attrgetter("__kwdefaults__"))
_FIELDS = attrgetter("__dict__")
_BASES = attrgetter("__mro__")
_EMPTY = object()


class Watch:
    """The containers, objects and functions that were described, with what they held when they were.

    Identities are compared, and of arrays where their data lies.
    """

    def __init__(self) -> None:
        self._dicts = Mappings(dict)
        self._classes = Mappings(MappingProxyType)
        self._lists: list[tuple[list[Any], list[Any]]] = []
        self._sets: list[tuple[Any, list[Any], frozenset[int]]] = []
        self._data: dict[int, tuple[Any, Any]] = {}
        self._kinds: dict[int, tuple[Any, type]] = {}
        self._fields: list[tuple[Any, dict[str, Any]]] = []
        self._slots: list[tuple[Any, str, Any]] = []
        self._idle: list[tuple[dict[str, Any], int]] = []
        self._codes: dict[int, tuple[Any, Any]] = {}
        self._functions: dict[int, tuple[Any, tuple[Any, Any, Any]]] = {}
        self._cells: list[tuple[Any, Any]] = []
        self._names: dict[int, tuple[dict[str, Any], dict[str, Any]]] = {}
        self._told: list[tuple[Callable[[], Any], Any]] = []
        self._bases: dict[type, tuple[type, ...]] = {}
        self._inside: dict[int, Watch] = {}
        self._anew: dict[Hashable, tuple[Callable[[], Any], Any]] = {}
        self._whole: list[tuple[dict[str, Any], list[Any]]] = []
        self._checks: tuple[Callable[[], bool], ...] = ()

    def mapping(
        self, mapping: Any, counts: Counts | None = None, *, in_order: bool = False
    ) -> dict[Any, Any]:
        """Give what a dict or a class's namespace holds; watched are the entries that count, or all."""
        group = self._classes if isinstance(mapping, MappingProxyType) else self._dicts
        return group.add(mapping, counts, in_order=in_order)

    def items(self, items: list[Any]) -> list[Any]:
        """Give the items of a list, which is watched."""
        self._lists.append((items, list.copy(items)))
        return self._lists[-1][1]

    def members(self, members: Any) -> list[Any]:
        """Give the members of a set, which is watched."""
        held = list(members)
        self._sets.append((members, held, frozenset(map(id, held))))
        return held

    def data(self, array: Any, twin: Any) -> None:
        """Watch that an array is not written into; its twin keeps the data that it had."""
        self._data[id(array)] = array, twin

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

    def bases(self, kind: type) -> tuple[type, ...]:
        """Give a class and its bases, which are watched."""
        return self._bases.setdefault(kind, kind.__mro__)

    def include(self, watch: Watch) -> None:
        """Watch what another one watches."""
        self._inside[id(watch)] = watch

    def anew(self, name: Hashable, tell: Callable[[], Any]) -> Any:
        """Give what a call answers, which is too slow to be asked again but by `is_fresh`."""
        if name not in self._anew:
            self._anew[name] = tell, tell()
        return self._anew[name][1]

    def all_of(self, namespace: dict[str, Any]) -> None:
        """Note all of a module's globals, which only `is_fresh` looks at."""
        self._whole.append((namespace, [*namespace.values()]))

    def is_fresh(self) -> bool:
        """Tell whether all is as it was given, so that describing it anew would say the same."""
        return (
            not self.changed()
            and all(len(now) == len(held) and same([*now.values()], held) for now, held in self._whole)
            and all(tell() == told for tell, told in self._anew.values())
            and all(watch.is_fresh() for watch in self._inside.values())
        )

    def held(self) -> Iterator[Any]:
        """Give what all that was given holds now, with what takes no part in it."""
        yield from chain(self._dicts.values(), self._classes.values())
        yield from chain.from_iterable(items for items, _ in self._lists)
        yield from (getattr(one, name, None) for one, name, _ in self._slots)
        yield from (_content(cell) for cell, _ in self._cells)
        yield from (now.get(name) for now, held in self._names.values() for name in held)
        for watch in self._inside.values():
            yield from watch.held()

    def changed(self) -> bool:
        """Tell whether anything that counts is another object than when it was given."""
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
        classes, bases = [*self._bases], [*self._bases.values()]
        namespaces, globals_ = _columns([*self._names.values()])
        asked, names = [now.get for now in namespaces], [*map(list, globals_)]
        values = [*chain.from_iterable(map(dict.values, globals_))]

        def look() -> Iterable[Any]:
            return chain.from_iterable(map(map, asked, names))

        checks = (
            (self._dicts, self._dicts.sealed()),
            (self._classes, self._classes.sealed()),
            (lists, lambda: [*map(len, lists)] == lengths and same(chain.from_iterable(lists), flat)),
            (self._sets, lambda: all(_holds(now, ids) for now, _, ids in self._sets)),
            (objects, lambda: same(map(type, objects), kinds) or _are_still(objects, kinds, owns)),
            (owners, lambda: same(map(_FIELDS, owners), fields)),
            (self._slots, lambda: all(getattr(one, name, _EMPTY) is it for one, name, it in self._slots)),
            (functions, lambda: all(same(map(part, functions), then) for part, then in parts)),
            (library, lambda: same(map(_CODE, library), codes)),
            (idle, lambda: [*map(len, idle)] == few),
            (cells, lambda: same(map(_content, cells), contents)),
            (names, lambda: same(look(), values) or _are_alike(look(), values)),
            (classes, lambda: same(map(_BASES, classes), bases)),
            (self._data, unwritten(self._data.values())),
            (self._told, lambda: all(tell() == told for tell, told in self._told)),
            (self._inside, lambda: not any(watch.changed() for watch in self._inside.values())),
        )
        return tuple(check for watched, check in checks if watched)


def _are_still(objects: list[Any], kinds: list[type], owns: list[type]) -> bool:
    """Tell whether objects are of the classes that they had, but for being attached; note their classes."""
    if not same(map(class_of, objects), owns):
        return False
    kinds[:] = map(type, objects)  # the next time, by the short way again
    return True


def _are_alike(now: Iterable[Any], held: Iterable[Any]) -> bool:
    """Tell whether two rows of objects, of one length, are the same but for functions that are taken."""
    return all(one is other or untaken(one) is untaken(other) for one, other in zip(now, held, strict=True))


def _holds(members: Any, ids: frozenset[int]) -> bool:
    """Tell whether a set holds the objects that it held."""
    return len(members) == len(ids) and ids.issuperset(map(id, members))


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return cell


def _columns(rows: list[tuple[Any, Any]]) -> tuple[list[Any], list[Any]]:
    return [row[0] for row in rows], [row[1] for row in rows]
