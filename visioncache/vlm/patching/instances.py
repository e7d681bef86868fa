"""Give one object methods of our own, and its own ones back; its copies never have ours."""

from __future__ import annotations

import functools
import inspect
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from visioncache.vlm.patching.functions import standing_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ORIGINAL = "__visioncache_original__"
"""On a patched object's class: the class that it had."""
_OWNER = "__visioncache_owner__"
"""On a patched object's class: the one object that the patch is for."""
_PATCH = "__visioncache_patch__"
"""On a patched object's class: the patch."""


def class_of(target: Any) -> type:
    """Return the class that an object has when nothing is attached to it."""
    kind = type(target)
    own: type = vars(kind).get(ORIGINAL, kind)
    return own


def is_patched(target: Any) -> bool:
    """Tell whether an object itself is patched; an instance that its class made since is not."""
    return vars(type(target)).get(_OWNER) is target


def is_patch(kind: type) -> bool:
    """Tell whether a class is one that a patched object has."""
    return _OWNER in vars(kind)


class Patch:
    """Overrides of one object's methods; attributes, parameters and `isinstance` stay as they were.

    Args:
        find: returns the object now; another one than before is patched in its place by `follow`.
        overrides: returns the overrides for an object, each made by `around` or `shown`.
        needed: raise where the object can't be patched to begin with.
    """

    _lock = threading.RLock()
    """One for all, as a patch may take an object from another."""

    def __init__(
        self,
        find: Callable[[], Any],
        overrides: Callable[[Any], dict[str, Any]],
        *,
        needed: bool = False,
    ) -> None:
        self._find, self._overrides, self._needed = find, overrides, needed
        self._target: Any = None
        self._body: dict[str, Any] = {}
        self.blocked = ""
        """The class of an object that can't be patched: a function, a partial, one that has slots alone.
        Set, too, where somebody put a method in the place of ours, in the patched class."""
        self._is_on = False

    def install(self, undo: ExitStack) -> None:
        """Patch the object until `undo`.

        Raises:
            RuntimeError: it is patched already, for another model that shares it.
            TypeError: it is needed, and its class is not one that can be exchanged.
        """
        with self._lock:
            self._put(self._find(), needed=self._needed)
            self._is_on = True
        undo.callback(self._end)

    def follow(self) -> bool:
        """Patch the object that took the place of the patched one; tell whether one did.

        Raises:
            RuntimeError: it is another model's, which is attached and shares it.
        """
        found = self._find()
        if not self._is_on:
            return False
        if found is None:
            self.blocked = "missing part"
            return False
        if found is self._target and is_patched(found):
            own = vars(type(found))  # where somebody may have put a method of theirs
            is_ours = all(own.get(n) in (one, getattr(one, "method", one)) for n, one in self._body.items())
            self.blocked = "" if is_ours else class_of(found).__name__
            return False
        if found is self._target and self.blocked:
            return False
        with self._lock:
            self._take_back()
            self._put(found)
        return True

    def _put(self, target: Any, *, needed: bool = False) -> None:
        if is_patched(target):
            other = vars(type(target))[_PATCH]
            if other._find() is target:  # noqa: SLF001  # one of its own
                raise RuntimeError(
                    f"another model that is attached shares this {type(target).__name__}; detach() that first"
                )
            other._take_back()  # noqa: SLF001  # it follows another by its next request
        self._target, self.blocked, original = target, "", class_of(target)
        self._body = self._overrides(target)
        body = {**_copying(original), **self._body, ORIGINAL: original, _OWNER: target, _PATCH: self}
        names = {"__module__": original.__module__, "__qualname__": original.__qualname__}
        try:
            target.__class__ = original  # of an instance that a patched class made: its own class again
            target.__class__ = type(
                original.__name__, (original,), {**names, "__doc__": original.__doc__, **body}
            )
        except TypeError:
            self.blocked = original.__name__
            if needed:
                raise

    def _end(self) -> None:
        self._is_on = False
        self._take_back()

    def _take_back(self) -> None:
        target, self._target = self._target, None
        if target is not None and is_patched(target):
            target.__class__ = class_of(target)


@contextmanager
def patched(target: Any, **overrides: Any) -> Iterator[None]:
    """Override methods of one object inside the block."""
    with ExitStack() as undo:
        Patch(lambda: target, lambda _: overrides).install(undo)
        yield


def around(target: Any, name: str, wrapper: Callable[..., Any]) -> Any:
    """Make a method that calls `wrapper(original, *args, **kwargs)`, `original` bound to `target`.

    It keeps the original's signature, which mlx-vlm inspects to decide what to pass. The original is the one
    of the moment, whoever put it in its class or on `target` itself. Any other object that has the method,
    such as a copy of `target`, gets the original, and so does `target` of a class made from its patched one.
    """
    cls = class_of(target)
    plain = getattr(cls, name)

    @functools.wraps(plain)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        original = inspect.getattr_static(cls, name).__get__(self, type(self))
        ours = self is target and class_of(self) is cls
        return wrapper(original, *args, **kwargs) if ours else original(*args, **kwargs)

    standing_in(method, inspect.getattr_static(cls, name))
    if isinstance(inspect.getattr_static(cls, name), staticmethod):
        signature = inspect.signature(plain)
        first = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
        parameters = [first, *signature.parameters.values()]
        method.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return method if name.startswith("__") else _Method(target, name, method, wrapper)


class _Method:
    """A method of an object that also goes around what somebody sets in its place on the object itself."""

    def __init__(self, target: Any, name: str, method: Any, wrapper: Callable[..., Any]) -> None:
        self._target, self._name, self._wrapper = target, name, wrapper
        self._cls = class_of(target)
        self.method = method

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None or self._name not in vars(instance):
            return self.method.__get__(instance, owner)
        own = vars(instance)[self._name]
        if instance is not self._target or class_of(instance) is not self._cls or not callable(own):
            return own
        wrapped = functools.wraps(own)(functools.partial(self._wrapper, own))
        standing_in(wrapped, own)  # whoever keeps it keeps `own`, where it is described
        return wrapped

    def __set__(self, instance: Any, value: Any) -> None:
        vars(instance)[self._name] = value

    def __delete__(self, instance: Any) -> None:
        if self._name not in vars(instance):
            raise AttributeError(self._name)
        del vars(instance)[self._name]


def shown(target: Any, name: str, show: Callable[[Any], Any]) -> property:
    """Make an attribute that `show(target)` computes; any other object shows its own."""
    missing = object()
    cls = class_of(target)
    inherited = inspect.getattr_static(cls, name, missing)

    def get(self: Any) -> Any:
        if self is target and class_of(self) is cls:
            return show(self)
        if name in vars(self):
            return vars(self)[name]
        if inherited is missing:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return inherited.__get__(self, type(self)) if hasattr(inherited, "__get__") else inherited

    def set_own(self: Any, value: Any) -> None:
        if hasattr(inherited, "__set__"):
            inherited.__set__(self, value)
        else:
            vars(self)[name] = value

    return property(get, set_own)


def resolve(root: Any, path: str) -> Any:
    """Return the submodule at a dotted path (`mlp1.3` is item 3 of `mlp1`), or None; `root` if it is empty.

    An attribute that is `shown` is passed by for the object's own.
    """
    found = root
    for step in filter(None, path.split(".")):
        if step.isdigit():
            found = found[int(step)] if int(step) < len(found) else None
        else:
            own = vars(found) if hasattr(found, "__dict__") else {}
            found = own[step] if step in own else getattr(found, step, None)
        if found is None:
            return None
    return found


def _copying(original: type) -> dict[str, Any]:
    """Copies and pickles of a patched object are of its original class."""

    def reduce_ex(self: Any, protocol: Any) -> Any:
        reduced = getattr(original, "__reduce_ex__")(self, protocol)  # noqa: B009  # mypy takes it for type's
        if not isinstance(reduced, tuple) or class_of(self) is not original:
            return reduced
        make, args, *rest = reduced
        if getattr(make, "__name__", "") == "__newobj__":  # which insists on the object's own class
            return original.__new__, (original, *args[1:]), *rest
        own = tuple(original if arg is type(self) else arg for arg in args)
        return (original if make is type(self) else make), own, *rest

    def copied(name: str) -> Callable[..., Any]:
        def copy(self: Any, *memo: Any) -> Any:
            made = getattr(original, name)(self, *memo)
            if type(made) is type(self):
                made.__class__ = original
            return made

        return copy

    named = {name: copied(name) for name in ("__copy__", "__deepcopy__") if hasattr(original, name)}
    return {"__reduce_ex__": reduce_ex, **named}
