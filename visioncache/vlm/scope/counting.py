"""Counting: find what code sets to what it makes of it (`self.calls += 1`), and what it reads besides."""

from __future__ import annotations

import dis
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import CodeType

_LOADS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_CLASSDEREF")
_ATTRIBUTES = ("LOAD_ATTR", "LOAD_METHOD")
_TURNS = ("popleft", "reverse", "rotate")
"""Methods that change a container at each call."""
_ENDS = ("STORE_", "POP_", "RETURN_")
"""How the instructions begin that end a statement, or a part of one."""


def counted(code: CodeType) -> tuple[set[str], set[str]]:  # noqa: C901  # one case a kind of instruction
    """Name what statements set to what they make of it, and what is read by any other.

    These are globals and closure variables (`name`), attributes of such and of `self` (`name.attribute`), and
    entries of tables (`table[name]`). What is in both decides by how often the code ran.
    """
    updates, uses = set[str](), set[str]()
    reads: list[str] = []
    last = owner = entry = target = held = before = ""
    for one in dis.get_instructions(code):
        op, name = one.opname, one.argval
        if isinstance(name, tuple) and "FAST" in op:  # two at once, as Python 3.13 loads and stores them
            name = name[-1]
        if op in _LOADS or (op.startswith("LOAD_FAST") and name == "self"):
            last = owner = name
            reads.append(name)
        elif op in _ATTRIBUTES and owner:
            last = f"{owner}.{name}"
            reads.append(last)
            owner = last
        elif op in _ATTRIBUTES or op.startswith("LOAD_FAST"):
            last = owner = ""
        elif op == "LOAD_CONST" and isinstance(name, str):
            entry = f"{last}[{name}]"
            reads.append(f"{owner}.{name}")  # as `getattr` takes it
        elif op == "COPY":  # of what `table[name] += value` or `owner.name += value` sets
            target, held = target or entry, held or owner
        elif op == "BINARY_SUBSCR" or one.argrepr == "[]":
            reads.append(entry)
        elif op.startswith(_ENDS):
            own = name
            if op == "STORE_ATTR":
                own = f"{held if before == 'SWAP' else owner}.{name}"
            elif op == "STORE_SUBSCR":
                own = target or entry
            if own in reads and not op.startswith("STORE_FAST"):
                updates.add(own)
                reads = [read for read in reads if read != own] + [own] * (before == "COPY")  # `:=`
            alone = op == "POP_TOP" and before.startswith("CALL")  # `ring.rotate(1)`
            turned = _turned(reads, alone=alone)
            updates.update(turned)
            uses.update(read for read in reads if not (alone and read in turned))
            reads, last, entry, target, held = [], "", "", "", ""
            owner = "self" if op.endswith("LOAD_FAST") and name == "self" else ""
        before = op
    return updates, uses


def _turned(reads: list[str], *, alone: bool) -> set[str]:
    """Name the containers that a statement turns; PIL's `rotate`, which is pure, is no statement `alone`."""
    methods = _TURNS if alone else ("popleft",)
    calls = (read.rpartition(".") for read in reads)
    return {owner for owner, _, method in calls if owner and method in methods}
