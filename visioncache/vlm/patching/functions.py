"""Take a module's function while something is attached, and give it back."""

from __future__ import annotations

import functools
import threading
from contextlib import contextmanager
from types import FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Taken:
    """A function of a module while wrappers take its calls, one around the other."""

    lock = threading.Lock()

    def __init__(self, module: Any, function: Callable[..., Any]) -> None:
        self.module = module
        self.original = untaken(function)
        self.wrappers: list[Callable[..., Any]] = []
        functools.update_wrapper(self, self.original)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        inner = self.original
        for wrapper in self.wrappers:
            inner = functools.partial(wrapper, inner)
        return inner(*args, **kwargs)


_TAKEN = "__visioncache_taken__"
"""On a method that stands in a class's place for its own: both, and whether the class itself has none."""


def standing_in(method: Any, own: Any, *, is_added: bool = False) -> None:
    """Say that a method stands in a class's place for its own, or for one that it inherits."""
    setattr(method, _TAKEN, (method, untaken(own), is_added))


def untaken(function: Any) -> Any:
    """Return a module's or a class's own function, also where somebody imported it while it was taken."""
    return function.original if isinstance(function, Taken) else _standing(function)[0]


def is_from(module: Any, name: str, value: Any) -> bool:
    """Tell whether a function was written in a module's own file, under this name."""
    function = untaken(value)
    if not isinstance(function, FunctionType):
        return False
    code = function.__code__
    return code.co_name == name and code.co_filename == module.__file__


def is_added(value: Any) -> bool:
    """Tell whether a class holds something only because a method is taken that it inherits."""
    return isinstance(value, FunctionType) and _standing(value)[1]


def _standing(function: Any) -> tuple[Any, bool]:
    method, own, adds = getattr(function, "__dict__", {}).get(_TAKEN, (None, None, False))
    return (own, adds) if method is function else (function, False)  # `functools.wraps` copies what is on one


@contextmanager
def taken(module: Any, name: str, wrapper: Callable[..., Any]) -> Iterator[None]:
    """Inside the block, a module's function is `wrapper(original, *args, **kwargs)`, around other such."""
    with Taken.lock:
        function = getattr(module, name)
        if not (isinstance(function, Taken) and function.module is module):
            function = Taken(module, function)
        function.wrappers = [*function.wrappers, wrapper]
        setattr(module, name, function)
    try:
        yield
    finally:
        with Taken.lock:
            last = len(function.wrappers) - 1 - function.wrappers[::-1].index(wrapper)
            function.wrappers = [other for n, other in enumerate(function.wrappers) if n != last]
            if not function.wrappers and getattr(module, name) is function:
                setattr(module, name, function.original)
