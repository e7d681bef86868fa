"""Code: tell code objects apart, what classes do with their attributes, and a library's own functions."""

from __future__ import annotations

import os
import re
import sys
import sysconfig
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from visioncache.machine import installed
from visioncache.recent import Recent
from visioncache.vlm.patching.functions import untaken
from visioncache.vlm.scope.reading import Reading, read
from visioncache.vlm.scope.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_BY_CODE = "mlx_vlm"
"""The library that decides features: described by its code, not by its version alone."""

_AFTER = tuple(
    f"{_BY_CODE}.{name}"
    for name in (
        *("generate", "speculative", "server", "trainer", "apc", "chat", "prompt_utils", "turboquant"),
        "models.cache",
    )
)
"""Modules of it that run when there are features, or before there are images."""


def parts(code: CodeType) -> Iterator[Any]:
    """Give what tells two code objects apart: no file, no line, nothing that differs between processes."""
    yield (code.co_code, code.co_exceptiontable)
    yield repr((code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars))
    yield repr((code.co_flags, code.co_argcount, code.co_kwonlyargcount, code.co_posonlyargcount))
    for const in code.co_consts:
        yield from parts(const) if isinstance(const, CodeType) else (const,)


# Habits ---------------------------------------------------------------------------------------------

RUN_BEFORE = frozenset(
    [
        "__init__",
        "__post_init__",
        "__new__",
        "__init_subclass__",
        "__setstate__",
        "from_pretrained",
        "from_dict",
        "sanitize",
        "save_pretrained",
    ]
)
"""Methods that ran before an object is used: what they read is in it."""

_ENTRANCES = ("__call__", "__getattr__", "__getattribute__")
"""Methods that run without being named, when an object is used."""


@dataclass(frozen=True)
class Habits:
    """The attributes that classes read, and those that they set while they are used."""

    reads: frozenset[str]
    writes: frozenset[str]
    unused: frozenset[str] = frozenset()
    """Names of their methods that nothing asks for when they are used."""

    @classmethod
    def of(cls, classes: Iterable[type], entrances: Iterable[str]) -> Habits:
        """Find what these classes read, and what they set when they are used by their entrances.

        Of libraries' classes it is found once, for as long as their methods are the same objects.
        """
        key = frozenset(classes), tuple(entrances)
        watch, known = _habits.get(key, (None, None))
        if watch is None or known is None or not watch.is_fresh():
            watch = Watch()
            known = cls._found(watch, *key)
            if all(map(lasts, key[0])):
                _habits[key] = watch, known
        return known

    @classmethod
    def _found(cls, watch: Watch, classes: Iterable[type], entrances: Iterable[str]) -> Habits:
        methods: dict[str, list[Reading]] = {}
        for one in classes:
            for name, value in watch.mapping(vars(one)).items():
                if isinstance(value, cached_property):
                    watch.slots(value, ("func",))
                for function, via in functions(value):
                    if name not in RUN_BEFORE:
                        methods.setdefault(f"{via}{name}", []).append(read(watch.code(function)))
        reads = frozenset().union(*(reading.reads for group in methods.values() for reading in group))
        met: set[str] = set()
        named, writes = {*_ENTRANCES, *entrances}, set[str]()
        while named:
            met |= named
            reached = [reading for name in named for reading in methods.get(name, ())]
            writes.update(*(reading.writes for reading in reached))
            named = set().union(*(r.reads | {f"={name}" for name in r.writes} for r in reached)) - met
        unused = {name for name in methods if name not in met and not name.startswith(("=", "__"))}
        return cls(reads, frozenset(writes), frozenset(unused))


_habits: Recent[Any, tuple[Watch, Habits]] = Recent(1000)
"""Habits of libraries' classes by these and their entrances, with what tells whether they are the same."""


def functions(value: Any) -> Iterator[tuple[Any, str]]:
    """Give the functions of a class's attribute; `=` marks a property's setter, which setting it calls."""
    if isinstance(value, property):
        pairs = [(value.fget, ""), (value.fset, "=")]
    elif isinstance(value, (staticmethod, classmethod)):
        pairs = [(value.__func__, "")]
    else:
        pairs = [(value.func if isinstance(value, cached_property) else untaken(value), "")]
    yield from ((one, via) for one, via in pairs if isinstance(one, FunctionType))


version = cache(installed)  # which reads a file anew each time

# Libraries ------------------------------------------------------------------------------------------


@cache
def library(root: str) -> str:
    """Name a library and its version, or "" for code that is described as it is."""
    if root in sys.stdlib_module_names or root in ("builtins", "visioncache"):
        return root
    if root in (_BY_CODE, "__main__") or not _is_installed(root):
        return ""
    return f"{root} {version(root)}"


def _is_installed(root: str) -> bool:
    """Tell whether a package lies where packages are installed, and one that is installed there says so."""
    module = sys.modules.get(root)
    if module is None:
        spec = find_spec(root) if root.isidentifier() else None
        paths = [spec.origin or "", *(spec.submodule_search_locations or ())] if spec else []
    else:
        paths = [getattr(module, "__file__", None) or "", *getattr(module, "__path__", ())]
    return any(_holds_packages(path) and (root in _EXPECTED or _is_recorded(root, path)) for path in paths)


def _is_recorded(root: str, path: str) -> bool:
    """Tell whether a distribution that is installed in the same folder lists a package's files."""
    place = Path(path)
    folder = place.parent.parent if place.name.startswith("__init__.") else place.parent
    return any(root in names for names in _records(str(folder)))


@cache
def _records(folder: str) -> list[set[str]]:
    """The top names among the files that each distribution in a folder has installed."""
    found = []
    for info in Path(folder).glob("*.*-info"):
        lists = [one for one in (info / "RECORD", info / "top_level.txt") if one.is_file()]
        lines = (line for one in lists for line in one.read_text("utf-8", "replace").splitlines())
        found.append({re.split(r"[/,.]", line, maxsplit=1)[0] for line in lines})
    return found


@cache
def _holds_packages(path: str) -> bool:
    """Tell whether a file or folder lies where packages were installed, `pip install --target` too."""
    if "-packages" in path:
        return True
    above = os.path.dirname(path)  # noqa: PTH120  # of many files, so that it should be quick
    if not path or above == path:
        return False
    return any(Path(above).glob("*.dist-info")) or _holds_packages(above)


def library_of(value: Any) -> str:
    """Name the library that a class or a function is from; "" where it is described by its code."""
    module = str(getattr(value, "__module__", None) or "")
    if isinstance(value, type) and value.__flags__ & _HEAP and not _lies_there(module, value):
        return ""
    return _BY_CODE if module.startswith(_AFTER) else library(module.partition(".")[0])


_HEAP = 1 << 9
"""CPython's flag of classes that are made at run time: all that are written in Python."""


def _lies_there(module: str, kind: type) -> bool:
    """Tell whether a class is what its module has under its name; others only claim to be from there."""
    found: Any = sys.modules.get(module)
    for name in kind.__qualname__.split("."):
        found = vars(found).get(name) if hasattr(found, "__dict__") else None
    return found is kind


def lasts(kind: type) -> bool:
    """Tell if a class is one of a library's, which is there for as long as the process lives."""
    module = str(kind.__module__ or "")
    root = module.partition(".")[0]
    return bool(library(root) or root == _BY_CODE) and _lies_there(module, kind)


def root_of(value: Any) -> str:
    """The top package of the module that a class or a function says it is from."""
    return str(getattr(value, "__module__", None) or "").partition(".")[0]


_STDLIB = tuple(filter(None, {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}))


def is_genuine(code: CodeType, root: str) -> bool:
    """Tell whether code lies in a library's own files, and is none that somebody put there."""
    file = code.co_filename
    if root in ("visioncache", "builtins"):
        return root == "visioncache"
    if file.startswith("<"):
        return _is_generated(code)
    if root in sys.stdlib_module_names:
        return file.startswith(_STDLIB)
    if root in file.replace("\\", "/").split("/") and _holds_packages(file):
        return True
    return root in _EXPECTED and _lies_in_checkout(file, root)


_GENERATED = frozenset(
    [
        *("__init__", "__repr__", "__eq__", "__lt__", "__le__", "__gt__", "__ge__", "__hash__"),
        *("__replace__", "__setattr__", "__delattr__", "__getstate__", "__setstate__"),
    ]
)
"""Methods that a dataclass's decorator writes."""

_TYPED = ("<ipython", "<python-input", "<stdin", "<doctest", "<console", "<input", "<cell")
"""How files are called that hold what somebody typed; what `python -c` runs is a `<string>`."""


def _is_generated(code: CodeType) -> bool:
    """Tell whether code in no file was made by a library: a dataclass's, a named tuple's."""
    if code.co_filename == "<string>":
        return code.co_name in _GENERATED or "_tuple_new" in code.co_names
    return not code.co_filename.startswith(_TYPED)


@cache
def _lies_in_checkout(file: str, root: str) -> bool:
    """Tell whether a file lies in the folder that a package was imported from, wherever that is."""
    return any(Path(file).is_relative_to(folder) for folder in getattr(sys.modules.get(root), "__path__", ()))


def checkout(modules: Iterable[str]) -> tuple[str, str] | None:
    """Say which library, of those that are known by their versions, is not installed and may be any code."""
    roots = (module.partition(".")[0] for module in modules)
    root = next((root for root in roots if not library(root)), None)
    what = "imported from where nothing is installed, and its version does not tell its code; pip install it"
    return None if root is None else (root, what)


@cache
def source_of(place: str) -> str:
    """Return 64 bits over the source of the module that a dotted place lies in; the place, if it has none."""
    while place and place not in sys.modules:
        place = place.rpartition(".")[0]
    file = Path(getattr(sys.modules.get(place), "__file__", None) or "")
    return blake3(file.read_bytes()).hexdigest(length=8) if file.is_file() else place


_EXPECTED = {
    *("PIL", "huggingface_hub", "mlx", "mlx_lm", "mlx_vlm", "numpy", "requests", "torch", "torchvision"),
    *("transformers", "visioncache"),
}
"""Packages beside the standard library that took part where families were proven."""


def is_expected(value: Any) -> bool:
    """Tell whether a class or a function is from a library that took part where families were proven."""
    if isinstance(value, FunctionType):
        file = value.__code__.co_filename.replace("\\", "/")
        _, packages, place = file.rpartition("-packages/")
        if packages:
            return place.partition("/")[0].removesuffix(".py") in _EXPECTED
        if file.startswith((*_STDLIB, "<frozen")):
            return True
    root = root_of(value)
    is_named = root in _EXPECTED or root in sys.stdlib_module_names or root == "builtins"
    return is_named and (isinstance(value, type) or is_genuine(value.__code__, root))
