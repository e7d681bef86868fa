"""Counting: find what code sets to what it makes of it (`self.calls += 1`), and what it reads besides."""

from __future__ import annotations

import dis
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import CodeType

_LOADS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_CLASSDEREF")
_ATTRIBUTES = ("LOAD_ATTR", "LOAD_METHOD")
_ENDS = ("STORE_", "POP_", "RETURN_")
"""How the instructions begin that end a statement, or a part of one."""


def counted(code: CodeType) -> tuple[set[str], set[str]]:
    """Name what statements set to what they make of it, and what is read by any other.

    These are globals and closure variables (`name`), attributes of anything (`.name`), and entries of tables
    (`table[name]`). What is in both decides by how often the code ran.
    """
    updates, uses = set[str](), set[str]()
    reads: list[str] = []
    last = entry = target = before = ""
    for one in dis.get_instructions(code):
        op, name = one.opname, one.argval
        if op in _LOADS or op in _ATTRIBUTES:
            last = name if op in _LOADS else f".{name}"
            reads.append(last)
        elif op == "LOAD_CONST" and isinstance(name, str):
            entry = f"{last}[{name}]"
            reads.append(f".{name}")  # as `getattr` takes it
        elif op == "COPY":  # `table[name] += value` does so with both
            target = target or entry
        elif op == "BINARY_SUBSCR" or one.argrepr == "[]":
            reads.append(entry)
        elif op.startswith(_ENDS):
            own = (target or entry) if op == "STORE_SUBSCR" else f".{name}" if op == "STORE_ATTR" else name
            if own in reads and not op.startswith("STORE_FAST"):
                updates.add(own)
                reads = [read for read in reads if read != own] + [own] * (before == "COPY")  # `:=`
            uses.update(reads)
            reads, last, entry, target = [], "", "", ""
        before = op
    return updates, uses
