"""Itself: tell what a model sets of itself while it runs, a table that grows, from what others set of it."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from types import CellType
from typing import TYPE_CHECKING, Any
from weakref import ref

from mlx import nn

from visioncache.vlm.scope.code import Habits

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

_set: dict[tuple[int, Any], tuple[Callable[[], Any], Any, Any]] = {}
"""By owner and name: the value that the model set, and the one that was there at first."""
MISSING = object()
"""Stands for what was not there at first."""


def at_first(module: Any, name: Any, value: Any) -> Any:
    """Return what a module, or a dict, held before the model set it itself; the value where it did not."""
    owner, now, first = _set.get((id(module), name), (None, None, None))
    return first if owner is not None and owner() is module and now is value else value


def _reference(owner: Any) -> Callable[[], Any]:
    """Refer to an owner, weakly where that can be, so that no id comes twice."""
    return (lambda: owner) if type(owner) in (dict, CellType) else ref(owner)


def _held(owner: Any, name: Any) -> Any:
    """Return what an owner holds under a name: a table, a closure's cell, a module."""
    if type(owner) is dict:
        return owner.get(name)
    try:
        return getattr(owner, name, None)
    except ValueError:  # an empty cell
        return None


class ItsOwn:
    """The attributes that modules' own code sets after `__init__`."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._running = 0
        self._held: list[tuple[Any, Any, Any]] = []
        self._tables: list[dict[Any, Any]] = []

    def look(
        self, modules: Iterable[nn.Module], entrances: Iterable[str], private: Collection[str] = ()
    ) -> None:
        """Note which attributes the code of modules sets when it runs, and what they are now.

        Of those that begin with an underscore, the `private` ones.
        """
        names: dict[type, list[str]] = {}
        held = []
        for module in modules:
            kind = type(module)
            if kind not in names:
                writes = Habits.of({*kind.__mro__} - {nn.Module}, entrances).writes
                names[kind] = sorted(n for n in writes if n in private or not n.startswith("_"))
            own = (name for name in names[kind] if name in module or name in vars(module))
            held += [(module, name, getattr(module, name)) for name in own]
        self._held = held

    def look_at_states(self, states: Iterable[tuple[Any, str]]) -> None:
        """Note the globals and cells that a user's code writes to, and what tables among them hold."""
        named = [(owner, name, _held(owner, name)) for owner, name in states]
        self._tables = [table for _, _, table in named if type(table) is dict]
        entries = ((table, name, one) for table in self._tables for name, one in [*table.items()])
        self._held += [*named, *entries]

    @contextmanager
    def running(self, notice: Callable[[], Any]) -> Iterator[None]:
        """Take what is set inside this block for the model's own doing; `notice` what others set before."""
        with self._lock:
            if not self._running and any(one is not then for *_, then, one in self._now()):
                notice()
            self._running += 1
        try:
            yield
        finally:
            with self._lock:
                self.accept()
                self._running -= 1

    def accept(self) -> None:
        """Note what the model set since, if it runs."""
        with self._lock:
            if self._running:
                for module, name, then, now in self._now():
                    if now is not then:
                        _set[id(module), name] = _reference(module), now, at_first(module, name, then)
                self._held = [(module, name, now) for module, name, _, now in self._now()]

    def _now(self) -> Iterator[tuple[Any, Any, Any, Any]]:
        for module, name, then in self._held:
            yield module, name, then, _held(module, name)
        known = {(id(owner), name) for owner, name, _ in self._held if type(owner) is dict}
        for table in self._tables:
            for name, one in [*table.items()]:
                if (id(table), name) not in known:
                    yield table, name, MISSING, one
