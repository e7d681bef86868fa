"""Code: read what a function does with names, and tell a library's own functions from others."""

from __future__ import annotations

import dis
import os
import sys
import sysconfig
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

from visioncache.vlm.patching.functions import untaken

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_BY_CODE = "mlx_vlm"
"""The library that decides features: described by its code, not by its version alone."""

_AFTER = tuple(
    f"{_BY_CODE}.{name}"
    for name in [
        "generate",
        "speculative",
        "server",
        "trainer",
        "apc",
        "chat",
        "prompt_utils",
        "turboquant",
        "models.cache",
    ]
)
"""What of it runs when there are features, or before there are images."""

_MUTATES = frozenset(
    [
        "add",
        "append",
        "appendleft",
        "clear",
        "discard",
        "extend",
        "insert",
        "pop",
        "popitem",
        "remove",
        "setdefault",
        "update",
    ]
)
"""Methods that write into a container."""

_NEAR = 6
"""Instructions before a store into a container, among which the container is named."""


@dataclass(frozen=True)
class Reading:
    """What a code object, and those nested in it, do with names."""

    chains: tuple[tuple[str, ...], ...] = ()
    """Globals that are read, each with the attributes that are read of it at once."""
    imports: tuple[tuple[str, str], ...] = ()
    """Modules that are imported inside, each with a name that is taken from it (or "")."""
    reads: frozenset[str] = frozenset()
    """Attributes that are read of anything; strings that could be passed to `getattr` too."""
    writes: frozenset[str] = frozenset()
    """Attributes that are set on anything."""
    fills: frozenset[str] = frozenset()
    """Globals and closure variables that are set, or written into."""


def read(code: CodeType) -> Reading:
    """Read a code object, once for as long as the process lives."""
    known = _known.get(id(code))
    if known is None:
        known = _known[id(code)] = (code, _read(code))
    return known[1]


_known: dict[int, tuple[CodeType, Reading]] = {}
"""Readings by the code's id, with the code, so that no id comes twice."""


def _read(code: CodeType) -> Reading:
    reader = _Reader(code)
    for op in dis.get_instructions(code):
        reader.take(op.opname, op.argval)
    inner = [read(const) for const in code.co_consts if isinstance(const, CodeType)]
    strings = {const for const in code.co_consts if isinstance(const, str) and const.isidentifier()}
    return Reading(
        tuple(dict.fromkeys([*reader.chains, *(c for one in inner for c in one.chains)])),
        tuple(dict.fromkeys([*reader.imports, *(i for one in inner for i in one.imports)])),
        frozenset(reader.reads | strings).union(*(one.reads for one in inner)),
        frozenset(reader.writes).union(*(one.writes for one in inner)),
        frozenset(reader.fills).union(*(one.fills for one in inner)),
    )


class _Reader:
    """Reads one instruction after the other."""

    def __init__(self, code: CodeType) -> None:
        self._free, self._local = code.co_freevars, {*code.co_freevars, *code.co_cellvars}
        self.chains: list[tuple[str, ...]] = []
        self.imports: list[tuple[str, str]] = []
        self.reads: set[str] = set()
        self.writes: set[str] = set()
        self.fills: set[str] = set()
        self._chain: tuple[str, ...] = ()
        self._recent: list[str] = []
        self._consts: tuple[Any, Any] = (None, None)
        self._module = ""

    def take(self, op: str, name: Any) -> None:
        loads = op in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_CLASSDEREF")
        self._recent = [*self._recent[1 - _NEAR :], name if loads else ""]
        if op in ("LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR"):
            self.reads.add(name)
            if self._chain:
                self._chain = (*self._chain, name)
                if name in _MUTATES:
                    self.fills.add(self._chain[-2])
                return
        if self._chain and self._chain[0] not in self._local:
            self.chains.append(self._chain)
        self._chain = (name,) if loads else ()
        self._set(op, name)
        self._import(op, name)

    def _set(self, op: str, name: Any) -> None:
        if op in ("STORE_ATTR", "DELETE_ATTR"):
            self.writes.add(name)
        elif op in ("STORE_SUBSCR", "DELETE_SUBSCR"):
            self.fills.update(filter(None, self._recent))
        elif op in ("STORE_GLOBAL", "DELETE_GLOBAL") or (op == "STORE_DEREF" and name in self._free):
            self.fills.add(name)

    def _import(self, op: str, name: Any) -> None:
        if op in ("LOAD_CONST", "LOAD_SMALL_INT"):
            self._consts = (self._consts[1], name)
        elif op == "IMPORT_NAME":  # the level and the names come before it
            self._module = "." * int(self._consts[0] or 0) + name
            self.imports.append((self._module, ""))
        elif op == "IMPORT_FROM":
            self.imports.append((self._module, name))


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

    @classmethod
    def of(cls, classes: Iterable[type], entrances: Iterable[str]) -> Habits:
        """Find what these classes read, and what they set when they are used by their entrances."""
        methods: dict[str, list[Reading]] = {}
        for one in classes:
            for name, value in vars(one).items():
                for function, via in functions(value):
                    if name not in RUN_BEFORE:
                        methods.setdefault(f"{via}{name}", []).append(read(function.__code__))
        reads = frozenset().union(*(reading.reads for group in methods.values() for reading in group))
        met: set[str] = set()
        named, writes = {*_ENTRANCES, *entrances}, set[str]()
        while named:
            met |= named
            reached = [reading for name in named for reading in methods.get(name, ())]
            writes.update(*(reading.writes for reading in reached))
            named = set().union(*(r.reads | {f"={name}" for name in r.writes} for r in reached)) - met
        return cls(reads, frozenset(writes))


def functions(value: Any) -> Iterator[tuple[Any, str]]:
    """Give the functions of a class's attribute; `=` marks a property's setter, which setting it calls."""
    if isinstance(value, property):
        pairs = [(value.fget, ""), (value.fset, "=")]
    elif isinstance(value, (staticmethod, classmethod)):
        pairs = [(value.__func__, "")]
    else:
        pairs = [(value.func if isinstance(value, cached_property) else untaken(value), "")]
    yield from ((one, via) for one, via in pairs if isinstance(one, FunctionType))


version = cache(metadata.version)  # which reads a file anew each time

# Libraries ------------------------------------------------------------------------------------------


@cache
def library(root: str) -> str:
    """Name a library and its version, or "" for code that is described as it is."""
    if root in sys.stdlib_module_names or root in ("builtins", "visioncache"):
        return root
    if root in (_BY_CODE, "__main__") or not _is_installed(root):
        return ""
    try:
        return f"{root} {version(root)}"
    except metadata.PackageNotFoundError:  # its distribution has another name
        return f"{root} {getattr(sys.modules.get(root), '__version__', '')}"


def _is_installed(root: str) -> bool:
    module = sys.modules.get(root)
    if module is None:
        spec = find_spec(root) if root.isidentifier() else None
        paths = [spec.origin or "", *(spec.submodule_search_locations or ())] if spec else []
    else:
        paths = [getattr(module, "__file__", None) or "", *getattr(module, "__path__", ())]
    return any(map(_holds_packages, paths))


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
    """Whether a class is what its module has under its name; others only say that they are from there."""
    found: Any = sys.modules.get(module)
    for name in kind.__qualname__.split("."):
        found = vars(found).get(name) if hasattr(found, "__dict__") else None
    return found is kind


def root_of(value: Any) -> str:
    """The top package of the module that a class or a function says it is from."""
    return str(getattr(value, "__module__", None) or "").partition(".")[0]


_STDLIB = tuple(filter(None, {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}))


def is_genuine(code: CodeType, root: str) -> bool:
    """Whether code lies in a library's own files, and is none that somebody put there."""
    file = code.co_filename
    if root in ("visioncache", "builtins"):
        return root == "visioncache"
    if file.startswith("<"):  # made by the library: a dataclass's, a named tuple's
        return "ipython" not in file and "stdin" not in file
    if root in sys.stdlib_module_names:
        return file.startswith(_STDLIB)
    return root in file.replace("\\", "/").split("/") and _holds_packages(file)


def is_installed(code: CodeType) -> bool:
    """Whether code lies in the files of any library."""
    return code.co_filename.startswith((*_STDLIB, "<frozen")) or _holds_packages(code.co_filename)
