"""Classes: describe a class by what it and its bases define, with what was put into libraries' modules."""

from __future__ import annotations

import sys
from functools import _lru_cache_wrapper, partial
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

from visioncache.vlm.patching.functions import is_added
from visioncache.vlm.patching.instances import is_patch
from visioncache.vlm.scope import code
from visioncache.vlm.scope.programs import BUILTIN, WRAPPED, is_made

if TYPE_CHECKING:
    from collections.abc import Iterable

    from visioncache.vlm.scope.anatomy import Anatomy, Child
    from visioncache.vlm.scope.watch import Watch

_UNSAID = frozenset(
    [
        "__module__",
        "__qualname__",
        "__dict__",
        "__weakref__",
        "__doc__",
        "__annotations__",
        "__abstractmethods__",
        "_abc_impl",
        "__slots__",
        "__slotnames__",
        "__firstlineno__",
        "__static_attributes__",
        "__annotate_func__",
        "__annotations_cache__",
        "__hash__",
        "__parameters__",
        "__orig_bases__",
        "__dataclass_fields__",
        "__dataclass_params__",
        "__match_args__",
    ]
)
"""Of a class, what decides nothing that it computes."""


def class_(anatomy: Anatomy, path: str, value: type) -> list[Child]:
    """Describe a class by what it and its bases define; of a library's, by what is not the library's own."""
    anatomy.say("class", str(value.__module__), value.__qualname__, code.library_of(value))
    # A patched class has the one that it stands for behind it.
    bases = [base for base in anatomy.watch.bases(value) if not (_is_immutable(base) or is_patch(base))]
    children = []
    for base in bases:
        anatomy.say("of", str(base.__module__), base.__qualname__)
        anatomy.lasts &= code.lasts(base)
        if base not in anatomy.defined:
            anatomy.defined.add(base)
            if code.library_of(base) and not code.is_expected(base) and _has_methods(base):
                anatomy.users.append(path)
            children += anatomy.named("defines", path, _own(anatomy, base))
            children += _metaclass(anatomy, path, base)
            children += strangers(anatomy, base.__module__) if code.library_of(base) else []
    return children


def _has_methods(value: type) -> bool:
    return any(True for one in vars(value).values() for _ in code.functions(one))


def _metaclass(anatomy: Anatomy, path: str, value: type) -> list[Child]:
    """Give the class of a class, where somebody wrote one: attributes can be computed there."""
    kind = anatomy.watch.kind(value)
    return [] if _is_immutable(kind) or code.library_of(kind) else [(f"{path}.__class__", kind)]


def foreign(watch: Watch, kinds: Iterable[Any]) -> dict[str, Any]:
    """The libraries of classes and of their bases, and the methods that others put there; all are watched.

    Python's own are none: which bases there are depends on which of PIL's readers were loaded until now.
    """
    bases = {base for kind in kinds if isinstance(kind, type) for base in kind.__mro__[:-1]}
    methods = {
        f"{base.__module__}.{base.__qualname__}.{name}": value
        for base in bases
        for name, value in watch.mapping(vars(base)).items()
        if any(_is_strange(function, base) for function, _ in code.functions(value))
    }
    roots = {root: code.library(root) for root in map(code.root_of, bases)}
    return {root: name for root, name in roots.items() if name != root} | methods


def is_altered(kind: type) -> bool:
    """Tell whether a class holds a method that others put there."""
    return any(
        _is_strange(function, kind) for one in vars(kind).values() for function, _ in code.functions(one)
    )


def _is_strange(function: Any, kind: type) -> bool:
    """Tell whether a function in a class is neither its library's nor another that is expected."""
    its_code = getattr(function, "__code__", None)
    root = code.root_of(kind)
    own = its_code is not None and bool(code.library(root)) and code.is_genuine(its_code, root)
    return not (own or code.is_expected(function))


def strangers(anatomy: Anatomy, name: str) -> list[Child]:
    """Describe the functions in a library's module that somebody put there."""
    module = sys.modules.get(name)
    if module is None or module in anatomy.defined:
        return []
    anatomy.defined.add(module)
    found = {}
    anatomy.watch.all_of(vars(module))
    for one, value in [*vars(module).items()]:
        if callable(value) and not isinstance(value, type):
            anatomy.watch.name(vars(module), one)
            if _is_put_there(value):
                found[one] = value
            elif (called := getattr(value, "__name__", one)) != one:  # an alias, or another in its place
                anatomy.say("alias", one, called)
    return anatomy.named("strangers", name, found)


def _is_put_there(value: Any) -> bool:
    """Tell whether something callable in a library's module is a user's, or stands around a function."""
    if isinstance(value, FunctionType):
        return not code.is_expected(value)
    is_users = not code.library(code.root_of(type(value)))
    return is_users or isinstance(value, _AROUND) or is_made(value)


def _own(anatomy: Anatomy, base: type) -> dict[str, Any]:
    root = code.root_of(base)
    library = code.library_of(base)
    own = anatomy.watch.mapping(vars(base), _is_said)
    said = {}
    for name in (name for name, value in own.items() if _is_said(name, value)):
        codes = [anatomy.watch.code(one) for one, _ in code.functions(own[name])]
        foreign = not all(code.is_genuine(one, root) for one in codes)
        if library and not foreign and (others := _other_names(name, base, own[name], codes)):
            anatomy.say("alias", name, *others)
        if not library or foreign or not (codes or _is_builtin(own[name])):
            said[name] = own[name]
    return said


def _other_names(name: str, base: type, value: Any, codes: list[Any]) -> list[str]:
    """Say by which names a library calls a method that stands under another one: it may be in its place."""
    own = f"{base.__qualname__}.{name}"
    if codes:
        return [code.co_qualname for code in codes if code.co_qualname != own]
    inside = getattr(value, "__func__", value)
    called = str(getattr(inside, "__name__", name))
    return [called] if callable(inside) and called != name else []


def _is_builtin(value: Any) -> bool:
    """Tell if a class's attribute is written in C, or another class: a library's own, as it came."""
    inside = [one for one in (getattr(value, name, None) for name in WRAPPED) if one is not None]
    parts = inside if isinstance(value, _HOLDERS) and inside else [value]
    return all(
        isinstance(one, (*BUILTIN, type))
        or code.root_of(type(one)) == "nanobind"
        or type(one).__name__ == "PyCapsule"
        for one in parts
    )


def _is_said(name: str, value: Any) -> bool:
    return name not in _UNSAID and not is_added(value)


def _is_immutable(kind: type) -> bool:
    """Tell if a class is written in C, so that its attributes can't be set."""
    flags: int = type.__dict__["__flags__"].__get__(kind)
    return bool(flags & _IMMUTABLE)


_IMMUTABLE = 1 << 8
"""CPython's flag of such classes."""

_AROUND = (partial, _lru_cache_wrapper, MethodType)
"""Kinds of objects that stand around a function where a module has one."""

_HOLDERS = (property, staticmethod, classmethod)
DESCRIBED = ((type, class_),)
