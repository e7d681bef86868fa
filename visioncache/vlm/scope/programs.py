"""Programs: describe functions by their code and by what they read, and classes by what they define."""

from __future__ import annotations

import builtins
import gc
import importlib
import os
import sys
import types
from functools import _lru_cache_wrapper, cached_property, partial
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from visioncache.recent import Recent
from visioncache.vlm.scope import code
from visioncache.vlm.scope.itself import MISSING
from visioncache.vlm.scope.outside import outside
from visioncache.vlm.scope.reading import Reading, read

if TYPE_CHECKING:
    from collections.abc import Iterable

    from visioncache.vlm.scope.anatomy import Anatomy, Child

_TAKEN = ("process_image", "process_inputs_with_fallback", "generate_step")
"""Functions of mlx-vlm's that are others while something is attached; what they give is identified."""

_BY_NAME = ("globals", "eval", "exec")
"""Builtins by which a function reaches globals that it does not name."""

_MADE = "made by its module whenever it is asked for, and can't be described"

WRAPPED = ("func", "args", "keywords", "fget", "fset", "__func__", "__wrapped__")


def function(anatomy: Anatomy, path: str, value: FunctionType) -> list[Child]:
    """Describe a function: a library's by its name and version, any other by its code and what it reads."""
    if type(value) is not FunctionType:  # MLX's show the class of the function that they were made of
        return compiled(anatomy, path, value)
    is_own = is_users(value)
    if is_own:
        anatomy.users.append(path)
    if code.library_of(value) and code.is_genuine(anatomy.watch.code(value), code.root_of(value)):
        return builtin(anatomy, path, value)
    its_code, defaults, keywords = anatomy.watch.function(value)
    reading = read(its_code)
    children = anatomy.row("function", path, [*code.parts(its_code)])
    children += anatomy.row("defaults", path, [defaults, keywords])
    cells = zip(its_code.co_freevars, value.__closure__ or (), strict=True)
    held = {name: (cell, anatomy.watch.cell(cell)) for name, cell in cells}
    closure = {name: one for name, (_, one) in held.items() if name not in reading.fills}
    if is_own:
        states = {name: pair for name, pair in held.items() if name not in closure}
        closure |= {n: _state(anatomy, cell, "cell_contents", one) for n, (cell, one) in states.items()}
    children += anatomy.named("closure", path, closure)
    own = anatomy.watch.fields(value)
    unread = {"__wrapped__"} - reading.reads
    children += anatomy.named("has", path, {name: own[name] for name in own if name not in unread})
    _, of_class, place = path.rpartition(".__class__.")
    method = place.partition(".")[0] if of_class else ""
    if method not in code.RUN_BEFORE:
        found = _globals(anatomy, value, reading)
        children += anatomy.named("reads", "", found)
        imported = (sys.modules.get(module) for module, _ in reading.imports)
        given = [*(defaults or ()), *(keywords or {}).values()]
        own_code = path, reading, [*closure.values(), *given, *found.values(), *imported]
        if is_own and method in anatomy.unused:
            anatomy.unasked.append((method, own_code))
        elif is_own:
            _decides(anatomy, *own_code)
    return children


def decide_on_asked(anatomy: Anatomy) -> None:
    """Note what the methods read that a function asks for, though no other method does."""
    while asked := [one for one in anatomy.unasked if one[0] in anatomy.asked]:
        anatomy.unasked = [one for one in anatomy.unasked if one[0] not in anatomy.asked]
        for _, own_code in asked:
            _decides(anatomy, *own_code)


def _decides(anatomy: Anatomy, path: str, reading: Reading, found: Iterable[Any]) -> None:
    """Note what a user's function counts, and refuse one that reads what may be another at each call.

    `found` is what its names stand for.
    """
    anatomy.updates |= reading.updates
    anatomy.uses |= reading.uses
    anatomy.asked |= reading.reads
    for name in outside(reading, found)[:1]:
        anatomy.refuse(path, f"code that reads what may be another each time ({name})")


def is_users(value: FunctionType) -> bool:
    """Tell whether a function is neither mlx-vlm's nor another library's that is known."""
    return not (code.is_expected(value) or code.is_genuine(value.__code__, "mlx_vlm"))


def _globals(anatomy: Anatomy, value: FunctionType, reading: Reading) -> dict[str, Any]:
    """Give what a function reads of its module, and of those that it imports itself."""
    found: dict[str, Any] = {}
    for chain in reading.chains:
        namespace, path, one = value.__globals__, value.__module__ or "", None
        made = asked = False
        for name in chain:
            path, one = f"{path}.{name}", anatomy.watch.name(namespace, name)
            if name not in namespace:  # a builtin, or what a module makes when it is asked
                one, asked = (name, made) if made else (_builtin(anatomy, name), False)
            if not isinstance(one, ModuleType):
                break
            namespace, made = vars(one), _makes(one)
        if one is sys.modules or (one is name and name in _BY_NAME):
            anatomy.refuse(path, "read by a function that looks globals up by name, which can't be described")
            continue
        if asked:
            anatomy.refuse(path, _MADE)
            continue
        is_state = name in reading.fills and not isinstance(one, (ModuleType, type, FunctionType))
        if not is_state and name not in _TAKEN:
            found[path] = _behind(one)
        elif is_state and is_users(value) and namespace.get(name) is one:
            found[path] = _state(anatomy, namespace, name, one)
    for module, name in reading.imports:
        found.update(_imported(anatomy, value, module, name, reading))
    return found


def _builtin(anatomy: Anatomy, name: str) -> Any:
    """Return a builtin's name, or what somebody put among the builtins."""
    one = anatomy.watch.name(vars(builtins), name)
    is_pythons = code.root_of(one) == "builtins" and getattr(one, "__name__", "") == name
    return name if one is None or is_pythons else one


def _state(anatomy: Anatomy, owner: Any, name: str, value: Any) -> Any:
    """Return what a user's code writes to, as it was before the model ran: a value or a table.

    It is a global, of a module's namespace, or the content of a closure's cell.
    """
    was = anatomy.was
    if was is None:
        return value
    anatomy.states.append((owner, name))
    if type(value) is not dict:
        return was(owner, name, value)
    held = {key: was(value, key, one) for key, one in anatomy.watch.mapping(value).items()}
    return {key: one for key, one in held.items() if one is not MISSING}


def _imported(
    anatomy: Anatomy, value: FunctionType, module: str, name: str, reading: Reading
) -> dict[str, Any]:
    package = value.__globals__.get("__package__") or ""
    root = (package if module.startswith(".") else module).partition(".")[0]
    none = {f"import {module} {name}": None}
    found = anatomy.watch.anew((module, package), lambda: _import(module, package) if root else None)
    if found is None:
        return none
    if _makes(found) and not (name and name in vars(found)):
        anatomy.refuse(f"{module}.{name}", _MADE)
        return none
    names = [name]
    if not name:
        reads, there = reading.reads, vars(found)
        names = anatomy.watch.anew((id(there), reads), lambda: sorted(reads & there.keys()))
    inside = vars(found).get(name)
    if code.library(root) and isinstance(inside, ModuleType):
        return _imported(anatomy, value, inside.__name__, "", reading)
    if code.library(root):  # which is known by its version, but for what it holds: the environment
        names = [one for one in names if _is_held(_behind(vars(found).get(one)))]
        none = none if not names else {}
    else:
        none = {}
    held = {f"{found.__name__}.{one}": anatomy.watch.name(vars(found), one) for one in names}
    if sys.modules in held.values():
        anatomy.refuse("sys.modules", "read by a function, and can't be described")
        return none
    return none | {path: _behind(one) for path, one in held.items()}


def _makes(module: ModuleType) -> bool:
    """Tell whether a user's module makes what it is asked for, by `__getattr__` or a class of its own."""
    root = module.__name__.partition(".")[0]
    is_plain = type(module) is ModuleType and "__getattr__" not in vars(module)
    return not (is_plain or code.library(root) or root in ("mlx_vlm", "__main__"))


def _import(module: str, package: str) -> ModuleType | None:
    try:
        return importlib.import_module(module, package)
    except Exception:  # noqa: BLE001  # as it would be where the function imports it
        return None


def _behind(value: Any) -> Any:
    """Return what a library's function answers from, where that is the environment, which anybody may set."""
    return os.environ if value is os.getenv else value


def _is_held(value: Any) -> bool:
    """Tell if a library's global is a value that somebody may set, and no part of its code."""
    return value is not None and not callable(value) and not isinstance(value, ModuleType)


def builtin(anatomy: Anatomy, path: str, value: Any) -> list[Child]:
    """Describe what is known by its name: a library's function, or one that is written in C."""
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", "")
    module = str(getattr(value, "__module__", None) or getattr(value, "__objclass__", ""))
    anatomy.say("named", module, str(name), code.library_of(value))
    owner = getattr(value, "__self__", None)
    return [] if owner is None or isinstance(owner, ModuleType) else [(f"{path}.__self__", owner)]


def method(anatomy: Anatomy, path: str, value: types.MethodType) -> list[Child]:
    """Describe a bound method."""
    return anatomy.row("method", path, [value.__func__, value.__self__])


def wrapping(anatomy: Anatomy, path: str, value: Any) -> list[Child]:
    """Describe a partial, a property or whatever else a function is put into."""
    if isinstance(value, (partial, cached_property, _lru_cache_wrapper)):  # others are immutable
        held = anatomy.watch.slots(value, WRAPPED)
    else:
        held = {name: getattr(value, name) for name in WRAPPED if hasattr(value, name)}
    return anatomy.named(type(value).__name__, path, held)


def is_made(value: Any) -> bool:
    """Tell if MLX made a function of another: `mx.compile`, `mx.grad`."""
    return code.root_of(type(value)) == "mlx" and any(map(callable, gc.get_referents(value)))


def compiled(anatomy: Anatomy, path: str, value: Any) -> list[Child]:
    """Describe a function of MLX's, or one that it made of another (`mx.compile`, `mx.grad`)."""
    inside = [one for one in gc.get_referents(value) if one is not type(value)]
    if any(map(callable, inside)):
        if len(inside) == 1 and not path.startswith("mlx_vlm."):  # `mx.grad` shows nobody its `argnums`
            made = _made[id(value)] = _made.get(id(value)) or (value, uuid4().hex)
            anatomy.say("this one", made[1])
        return anatomy.row("compiled", path, inside)
    if is_found(value):
        return builtin(anatomy, path, value)
    if path.startswith("mlx_vlm."):  # a kernel, made by the module's own code
        anatomy.say("kernel", path, code.source_of(path))
        return []
    return anatomy.refuse(path, f"a {type(value).__qualname__}, which can't be described")


_made: Recent[int, tuple[Any, str]] = Recent(100)
"""Functions that MLX made of others, by id, with names of their own; MLX's take no weak references."""


def is_found(value: Any) -> bool:
    """Tell if something callable of a library's lies there under its own name.

    Where somebody put another thing there, a function that is written in C is still that one.
    """
    module = sys.modules.get(getattr(value, "__module__", None) or "")
    found = getattr(module, getattr(value, "__name__", None) or "", None)
    return found is value or (found is not None and type(value).__name__ == "nb_func")


def module(anatomy: Anatomy, path: str, value: ModuleType) -> list[Child]:
    """Describe a module: a library's by its name and version, any other by what is in it."""
    root = value.__name__.partition(".")[0]
    anatomy.say("module", value.__name__, code.library(root))
    if root == "__main__":
        return anatomy.refuse(
            path, "the module __main__, and nothing tells which of its names are read; keep the values"
        )
    if code.library(root) or root == "mlx_vlm":
        return []
    anatomy.lasts = False
    held = anatomy.watch.mapping(vars(value))
    return anatomy.named("holds", value.__name__, {n: held[n] for n in held if not n.startswith("__")})


BUILTIN = (
    *(types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType),
    *(types.MethodWrapperType, types.ClassMethodDescriptorType, types.GetSetDescriptorType),
    types.MemberDescriptorType,
)
DESCRIBED = (
    (ModuleType, module),
    (FunctionType, function),
    (types.MethodType, method),
    ((partial, property, staticmethod, classmethod, cached_property, _lru_cache_wrapper), wrapping),
    (BUILTIN, builtin),
)
