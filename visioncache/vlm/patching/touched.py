"""Touched: hear of it before anybody touches an object, which shows a class of ours until then."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from visioncache.vlm.patching.instances import ORIGINAL, class_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_TOUCHED = "__visioncache_touched__"
"""On a class that hears of it."""


def fields(target: Any) -> dict[str, Any]:
    """Return an object's attributes without touching it."""
    own: dict[str, Any] = object.__getattribute__(target, "__dict__")
    return own


def is_heard(target: Any) -> bool:
    """Tell whether the next touch of an object is heard of."""
    return _TOUCHED in vars(type(target))


def hear(
    target: Any, touched: Callable[[Any, str], None], shown: frozenset[str], settable: frozenset[str]
) -> None:
    """Call `touched(target, name)` before an attribute of an object is read, set or deleted.

    `type(target)` is another class until then, of the same name; `target.__class__` is its own.

    Args:
        target: the object.
        touched: what to call, with the name of the attribute, or of the special method. It calls `leave`.
        shown: names of attributes that may be read without a call.
        settable: names of attributes that may be set without a call.
    """
    object.__setattr__(target, "__class__", _hearing(class_of(target), touched, shown, settable))


def leave(target: Any, kind: type) -> None:
    """Give an object a class of its own, in the place of one that hears."""
    object.__setattr__(target, "__class__", kind)


@contextmanager
def deaf(target: Any) -> Iterator[None]:
    """Hear of no touch inside the block."""
    kind = type(target)
    leave(target, class_of(target))
    try:
        yield
    finally:
        leave(target, kind)


@cache
def _hearing(
    original: Any, touched: Callable[[Any, str], None], shown: frozenset[str], settable: frozenset[str]
) -> type:
    def read(self: Any, name: str) -> Any:
        if name == "__class__":
            return original
        if name not in shown:
            touched(self, name)
        return way_of(self).__getattribute__(self, name)

    def write(self: Any, name: str, value: Any) -> None:
        if name not in settable:
            touched(self, name)
        way_of(self).__setattr__(self, name, value)

    def through(name: str) -> Callable[..., Any]:
        def method(self: Any, *args: Any) -> Any:
            touched(self, name)
            return getattr(self, name)(*args)

        return method

    def way_of(self: Any) -> Any:  # a user may derive a class from this one
        return original if issubclass(type(self), hearing) else type(self)

    named = {name: through(name) for name in _SPECIAL if hasattr(original, name)}
    body = {"__getattribute__": read, "__setattr__": write, **named, ORIGINAL: original, _TOUCHED: True}
    names = {"__module__": original.__module__, "__qualname__": original.__qualname__}
    hearing = type(original.__name__, (original,), {**names, "__doc__": original.__doc__, **body})
    return hearing


_SPECIAL = ("__delattr__", "__reduce_ex__", "__copy__", "__deepcopy__")
"""Other special methods that touch an object, or are told its class before they do."""
