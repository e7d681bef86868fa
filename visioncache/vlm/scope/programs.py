"""Programs: describe functions by their code and by what they read, and classes by what they define."""

from __future__ import annotations

import gc
import importlib
import sys
import types
from functools import _lru_cache_wrapper, cached_property, partial
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from visioncache.vlm.patching.functions import is_added
from visioncache.vlm.patching.instances import is_patch
from visioncache.vlm.scope import code
from visioncache.vlm.scope.reading import Reading, read

if TYPE_CHECKING:
    from visioncache.vlm.scope.anatomy import Anatomy, Child

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

_TAKEN = ("process_image", "generate_step")
"""Functions of mlx-vlm's that are others while something is attached; what they give is identified."""

_WRAPPED = ("func", "args", "keywords", "fget", "fset", "__func__", "__wrapped__")


def function(anatomy: Anatomy, path: str, value: FunctionType) -> list[Child]:
    """Describe a function: a library's by its name and version, any other by its code and what it reads."""
    if not (code.is_expected(value) or code.is_genuine(value.__code__, "mlx_vlm")):
        anatomy.users.append(path)
    if code.library_of(value) and code.is_genuine(anatomy.watch.code(value), code.root_of(value)):
        return builtin(anatomy, path, value)
    its_code, defaults, keywords = anatomy.watch.function(value)
    reading = read(its_code)
    children = anatomy.row("function", path, [*code.parts(its_code)])
    children += anatomy.row("defaults", path, [defaults, keywords])
    cells = zip(its_code.co_freevars, value.__closure__ or (), strict=True)
    held = {name: anatomy.watch.cell(cell) for name, cell in cells if name not in reading.fills}
    children += anatomy.named("closure", path, held)
    own = anatomy.watch.fields(value)
    children += anatomy.named("has", path, {name: own[name] for name in own if name != "__wrapped__"})
    _, of_class, place = path.rpartition(".__class__.")
    if not (of_class and place.partition(".")[0] in code.RUN_BEFORE):
        children += _globals(anatomy, value, reading)
    return children


def _globals(anatomy: Anatomy, value: FunctionType, reading: Reading) -> list[Child]:
    """Give what a function reads of its module, and of those that it imports itself."""
    found: dict[str, Any] = {}
    for chain in reading.chains:
        namespace, path, one = value.__globals__, value.__module__ or "", None
        for name in chain:
            path, one = f"{path}.{name}", anatomy.watch.name(namespace, name)
            if name not in namespace:  # a builtin, or what a module makes when it is asked
                one = name
            if not isinstance(one, ModuleType):
                break
            namespace = vars(one)
        is_state = name in reading.fills and not isinstance(one, (ModuleType, type, FunctionType))
        if not is_state and name not in _TAKEN:
            found[path] = one
    for module, name in reading.imports:
        found.update(_imported(anatomy, value, module, name, reading))
    return anatomy.named("reads", "", found)


def _imported(
    anatomy: Anatomy, value: FunctionType, module: str, name: str, reading: Reading
) -> dict[str, Any]:
    package = value.__globals__.get("__package__") or ""
    root = (package if module.startswith(".") else module).partition(".")[0]
    none = {f"import {module} {name}": None}
    found = anatomy.watch.anew((module, package), lambda: _import(module, package) if root else None)
    if found is None:
        return none
    names = [name]
    if not name:
        reads, there = reading.reads, vars(found)
        names = anatomy.watch.anew((id(there), reads), lambda: sorted(reads & there.keys()))
    if code.library(root):  # which is known by its version, but for what it holds: the environment
        names = [one for one in names if _is_held(vars(found).get(one))]
        none = none if not names else {}
    else:
        none = {}
    return none | {f"{found.__name__}.{one}": anatomy.watch.name(vars(found), one) for one in names}


def _import(module: str, package: str) -> ModuleType | None:
    try:
        return importlib.import_module(module, package)
    except Exception:  # noqa: BLE001  # as it would be where the function imports it
        return None


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
        held = anatomy.watch.slots(value, _WRAPPED)
    else:
        held = {name: getattr(value, name) for name in _WRAPPED if hasattr(value, name)}
    return anatomy.named(type(value).__name__, path, held)


def compiled(anatomy: Anatomy, path: str, value: Any) -> list[Child]:
    """Describe a function of MLX's, or one that it made of another (`mx.compile`, `mx.grad`)."""
    inside = [one for one in gc.get_referents(value) if callable(one) and not isinstance(one, type)]
    if inside:
        return anatomy.row("compiled", path, inside)
    if is_found(value):
        return builtin(anatomy, path, value)
    if path.startswith("mlx_vlm."):  # a kernel, made by the module's own code
        anatomy.say("kernel", path, code.version("mlx-vlm"))
        return []
    return anatomy.refuse(path, f"a {type(value).__qualname__}, which can't be described")


def is_found(value: Any) -> bool:
    """Tell if something callable of a library's lies there under its own name.

    Where somebody put another thing there, a function that is written in C is still that one.
    """
    module = sys.modules.get(getattr(value, "__module__", None) or "")
    found = getattr(module, getattr(value, "__name__", None) or "", None)
    return found is value or (found is not None and type(value).__name__ == "nb_func")


def module(anatomy: Anatomy, _: str, value: ModuleType) -> list[Child]:
    """Describe a module: a library's by its name and version, any other by what is in it."""
    root = value.__name__.partition(".")[0]
    anatomy.say("module", value.__name__, code.library(root))
    if code.library(root) or root in ("mlx_vlm", "__main__"):
        return []
    anatomy.lasts = False
    held = anatomy.watch.mapping(vars(value))
    return anatomy.named("holds", value.__name__, {n: held[n] for n in held if not n.startswith("__")})


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
            if isinstance(value, FunctionType) and not code.is_expected(value):
                found[one] = value
            elif (called := getattr(value, "__name__", one)) != one:  # an alias, or another in its place
                anatomy.say("alias", one, called)
    return anatomy.named("strangers", name, found)


def _own(anatomy: Anatomy, base: type) -> dict[str, Any]:
    root = code.root_of(base)
    library = code.library_of(base)
    own = anatomy.watch.mapping(vars(base), _is_said)
    said = {}
    for name in (name for name, value in own.items() if _is_said(name, value)):
        codes = [anatomy.watch.code(one) for one, _ in code.functions(own[name])]
        foreign = not all(code.is_genuine(one, root) for one in codes)
        is_set = not codes and (isinstance(own[name], _SETTINGS) or _is_of_a_user(own[name]))
        if not library or foreign or is_set:
            said[name] = own[name]
    return said


def _is_of_a_user(value: Any) -> bool:
    kind = type(value)
    return code.root_of(kind) not in ("nanobind", "mlx") and not code.library_of(kind)


def _is_said(name: str, value: Any) -> bool:
    return name not in _UNSAID and not is_added(value)


def _is_immutable(kind: type) -> bool:
    """Tell if a class is written in C, so that its attributes can't be set."""
    flags: int = type.__dict__["__flags__"].__get__(kind)
    return bool(flags & _IMMUTABLE)


_IMMUTABLE = 1 << 8
"""CPython's flag of such classes."""

_SETTINGS = (bool, int, float, str, list, tuple, dict, type(None), partial, types.MethodType)
_BUILTIN = (
    *(types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType),
    *(types.MethodWrapperType, types.ClassMethodDescriptorType, types.GetSetDescriptorType),
    types.MemberDescriptorType,
)
DESCRIBED = (
    (type, class_),
    (ModuleType, module),
    (FunctionType, function),
    (types.MethodType, method),
    ((partial, property, staticmethod, classmethod, cached_property, _lru_cache_wrapper), wrapping),
    (_BUILTIN, builtin),
)
