"""Read code: the globals and attributes that a function reads, those that it sets, what it writes into."""

from __future__ import annotations

import dis
import sys
from dataclasses import dataclass
from types import CodeType
from typing import Any

from visioncache.vlm.scope.counting import counted

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


@dataclass(frozen=True)
class Reading:
    """Collect what a code object, and those nested in it, do with names."""

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
    updates: frozenset[str] = frozenset()
    """Names, as `counted` gives them, that are set to what is made of them."""
    uses: frozenset[str] = frozenset()
    """Names that are read for anything else."""
    opens_own: bool = False
    """Set where `Image.open` is given something else than a variable of the function's: a file of its own."""


OPENS_IMAGES = ("Image", "open")

_IMPORTERS = ("import_module", "__import__")
"""Functions that import a module by a name that is a string."""


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
        reader.take(op)
    inner = [read(const) for const in code.co_consts if isinstance(const, CodeType)]
    updates, uses = counted(code)
    strings = {const for const in code.co_consts if isinstance(const, str) and const.isidentifier()}
    if any(chain[-1] in _IMPORTERS for chain in reader.chains):
        named = (const for const in code.co_consts if isinstance(const, str))
        reader.imports += ((one, "") for one in named if one in sys.modules)
    return Reading(
        tuple(dict.fromkeys([*reader.chains, *(c for one in inner for c in one.chains)])),
        tuple(dict.fromkeys([*reader.imports, *(i for one in inner for i in one.imports)])),
        frozenset(reader.reads | strings).union(*(one.reads for one in inner)),
        frozenset(reader.writes).union(*(one.writes for one in inner)),
        frozenset(reader.fills).union(*(one.fills for one in inner)),
        frozenset(updates).union(*(one.updates for one in inner)),
        frozenset(uses).union(*(one.uses for one in inner)),
        reader.opens_own or any(one.opens_own for one in inner),
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
        self._before: list[dis.Instruction] = []
        self._consts: tuple[Any, Any] = (None, None)
        self._module = ""
        self._opening = ""
        self.opens_own = False

    def take(self, instruction: dis.Instruction) -> None:
        op, name = instruction.opname, instruction.argval
        loads = op in _LOADS
        self._open(op)
        self._before.append(instruction)
        if op in ("LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR"):
            self.reads.add(name)
            if self._chain:
                self._chain = (*self._chain, name)
                self._opening = "Image.open" if self._chain[-2:] == OPENS_IMAGES else ""
                if name in _MUTATES:
                    self.fills.add(self._chain[-2])
                return
        if self._chain and self._chain[0] not in self._local:
            self.chains.append(self._chain)
        self._chain = (name,) if loads else ()
        self._set(op, name)
        self._import(op, name)

    def _open(self, op: str) -> None:
        """Look at what follows `Image.open`: a plain local variable holds a picture that was given."""
        if self._opening == "Image.open" and op != "PUSH_NULL":
            self.opens_own |= not op.startswith("LOAD_FAST")
            self._opening = "variable"
        elif self._opening == "variable":
            self.opens_own |= op.startswith(("LOAD_ATTR", "LOAD_METHOD", "BINARY"))
            self._opening = ""

    def _set(self, op: str, name: Any) -> None:
        if op in ("STORE_ATTR", "DELETE_ATTR"):
            self.writes.add(name)
        elif op in ("STORE_SUBSCR", "DELETE_SUBSCR"):
            self.fills.update(_container(self._before[:-1]))
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


_LOADS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_CLASSDEREF")


def _container(before: list[dis.Instruction]) -> list[str]:
    """Name the global or closure variable that a store into a container writes to, by what came before it.

    On the stack lie the value, the container and the key. Where that can't be told there is no name: a
    variable that nobody writes to is part of the scope, which is safe.
    """
    end = len(before)
    if end and before[-1].opname == "SWAP":  # `container[key] += value`: both were copied before
        copies = (n for n in range(end - 1, 0, -1) if before[n].opname == before[n - 1].opname == "COPY")
        end = next(copies, 1) - 1
    start = _pushing(before, _pushing(before, end))
    inside = before[start : _pushing(before, end)] if start >= 0 else []
    return [one.argval for one in inside if one.opname in _LOADS][:1]  # the others are in its own subscripts


def _pushing(before: list[dis.Instruction], end: int) -> int:
    """Where the instructions begin that leave one value on the stack at an end; -1 where it can't be told."""
    pushed, at = 0, end
    while at > 0 and pushed < 1:
        at -= 1
        one = before[at]
        if one.opcode in dis.hasjrel or one.opcode in dis.hasjabs:
            return -1
        arg = one.arg if one.opcode >= dis.HAVE_ARGUMENT else None
        pushed += dis.stack_effect(one.opcode, arg, jump=False)
    return at if pushed == 1 else -1
