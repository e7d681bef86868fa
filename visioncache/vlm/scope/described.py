"""Described: a digest over objects, taken anew when anything of them is another object than before."""

from __future__ import annotations

import threading
import warnings
from functools import cache
from typing import TYPE_CHECKING, Any

import mlx.core as mx

from visioncache.vlm.request.tracing import is_traced
from visioncache.vlm.scope.itself import ItsOwn

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager

    from visioncache.vlm.scope.anatomy import Anatomy


class Described:
    """A digest that is taken anew when anything is another object than before."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._itself = ItsOwn()
        self._anatomy = self._sure(self._taken(None))

    @property
    def digest(self) -> str:
        """128 bits over everything as it is now."""
        return self._now().digest

    @property
    def opaque(self) -> str:
        """The first thing that couldn't be described when the digest was last asked for, or ""."""
        return next(iter(self._anatomy.opaque), "")

    @property
    def last(self) -> str:
        """The digest as it was when it was last asked for."""
        return self._anatomy.digest

    @property
    def has_users_code(self) -> bool:
        """Tell if there was code in it then that is no library's."""
        return bool(self._anatomy.users)

    def running(self) -> AbstractContextManager[None]:
        """Take what its own code sets inside this block for its own doing, which is no change."""
        return self._itself.running(self._now)

    def changed(self) -> bool:
        """Tell whether anything is another object now than when the digest was last asked for."""
        return self._anatomy.changed()

    def look(self) -> bool:
        """Describe it anew if it changed; tell, and do nothing, if a transformation put there what is new."""
        if self.changed():
            if self.is_traced():
                return True
            self._now()
        return False

    def is_traced(self) -> bool:
        """Tell whether a function transformation follows an array of it."""
        return is_traced(_arrays(self._held()))

    def _held(self) -> Iterable[Any]:
        """Give what everything holds now; nothing of it is evaluated."""
        return self._anatomy.watch.held()

    def _now(self) -> Anatomy:
        self._itself.accept()
        anatomy = self._anatomy
        if anatomy.changed():
            with self._lock:
                if self._anatomy.changed():
                    self._anatomy = self._sure(self._taken(self._anatomy))
                anatomy = self._anatomy
        return anatomy

    def _sure(self, anatomy: Anatomy) -> Anatomy:
        for place in anatomy.settled().opaque:
            warn_once(*filter(None, place.partition("; ")[::2]))  # with its own way out, if it names one
        anatomy.changed()  # which makes it ready to be asked
        return anatomy

    def _taken(self, before: Anatomy | None) -> Anatomy:
        raise NotImplementedError


def _arrays(values: Iterable[Any]) -> Iterator[Any]:
    """Give the arrays among values and in their containers, which may hold themselves."""
    seen: dict[int, Any] = {}
    todo = [*values]
    while todo:
        value = todo.pop()
        if isinstance(value, mx.array):
            yield value
        elif isinstance(value, (dict, list, tuple)) and id(value) not in seen:
            seen[id(value)] = value
            if isinstance(value, dict):  # a class derived from it may run code of its own
                todo += dict.values(value)
            else:
                todo += list.__iter__(value) if isinstance(value, list) else tuple.__iter__(value)


@cache
def warn_once(place: str, way: str = "replace it by a value or a function") -> None:
    """Warn that nothing is cached because of something that can't be described or followed."""
    warnings.warn(f"nothing is cached: {place}; {way}", stacklevel=4)
