"""Swap: give one object a subclass of its own class, or take a module's function, and give it back."""

from __future__ import annotations

import functools
import inspect
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ORIGINAL = "__visioncache_original__"
"""On a swapped object's class: the class that it had."""


def swap(target: Any, **overrides: Any) -> None:
    """Override methods of one object; every attribute, parameter and `isinstance` stays as it was."""
    cls = type(target)
    body = {**overrides, ORIGINAL: cls, "__module__": cls.__module__, "__doc__": cls.__doc__}
    target.__class__ = type(cls.__name__, (cls,), {"__qualname__": cls.__qualname__, **body})


def restore(target: Any) -> None:
    """Give a swapped object its own class back."""
    target.__class__ = getattr(type(target), ORIGINAL)


@contextmanager
def swapped(target: Any, **overrides: Any) -> Iterator[None]:
    """Override methods of one object inside the block."""
    swap(target, **overrides)
    try:
        yield
    finally:
        restore(target)


def is_swapped(target: Any) -> bool:
    """Whether an object is swapped now."""
    return hasattr(type(target), ORIGINAL)


class Taken:
    """A function of a module while wrappers take its calls, one around the other."""

    lock = threading.Lock()

    def __init__(self, module: Any, function: Callable[..., Any]) -> None:
        self.module = module
        # What another module imports while it is taken is that one's taken function.
        self.original: Callable[..., Any] = function.original if isinstance(function, Taken) else function
        self.wrappers: list[Callable[..., Any]] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        inner = self.original
        for wrapper in self.wrappers:
            inner = functools.partial(wrapper, inner)
        return inner(*args, **kwargs)


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


def around(cls: type, name: str, wrapper: Callable[..., Any]) -> Callable[..., Any]:
    """A method for `swap` that calls `wrapper(original, *args, **kwargs)`, `original` bound.

    It keeps the original's signature, which mlx-vlm inspects to decide what to pass.
    """
    function = inspect.getattr_static(cls, name)
    plain = getattr(cls, name)

    @functools.wraps(plain)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return wrapper(function.__get__(self, type(self)), *args, **kwargs)

    if isinstance(function, staticmethod):
        signature = inspect.signature(plain)
        first = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
        parameters = [first, *signature.parameters.values()]
        method.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return method


def resolve(root: Any, path: str) -> Any:
    """The submodule at a dotted path (`mlp1.3` is item 3 of `mlp1`), or None."""
    found = root
    for step in path.split("."):
        found = found[int(step)] if step.isdigit() else getattr(found, step, None)
        if found is None:
            return None
    return found
