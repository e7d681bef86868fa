"""command: make a function a subcommand of `%vcache`, with its options, help and completion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from IPython.core.magic_arguments import argument, magic_arguments

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Command = Any
"""A function of `(session, arguments)` that carries its `parser`, and `variables`: which of its
arguments name variables, for completion."""

COMMANDS: dict[str, Command] = {}


NAMED = (
    argument("entry", metavar="ENTRY", nargs="+", help="a label, file name, key or variable"),
    argument("--all", action="store_true", help="every entry of that file name, in whatever folder"),
)
"""How entries are named."""


def command(*arguments: Any, variables: Sequence[str] = ()) -> Callable[[Command], Command]:
    """Register a function as the subcommand of its name."""

    def register(function: Command) -> Command:
        name = function.__name__.rstrip("_")
        common = (
            argument("-o", "--output", metavar="NAME", help="bind what is returned to this variable"),
            argument("-q", "--quiet", action="store_true", help="return nothing, so that nothing is shown"),
        )
        for decorate in reversed((*arguments, *common)):
            function = decorate(function)
        function.summary = (function.__doc__ or "").splitlines()[0]
        function.variables = tuple(variables)
        COMMANDS[name] = magic_arguments(f"vcache {name}")(function)
        return COMMANDS[name]

    return register
