"""Completion of `%vcache` lines: subcommands, options and names, and nothing else."""

from __future__ import annotations

import re
from argparse import REMAINDER
from typing import TYPE_CHECKING, Any

from IPython.core.completer import SimpleCompletion, context_matcher

from visioncache.jupyter.commands import COMMANDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from IPython.core.completer import CompletionContext, SimpleMatcherResult

    from visioncache.jupyter.session import Session

_LINE = re.compile(r"^\s*(?:[\w, ]+=\s*)?%vcache(?:\s+(?P<rest>.*))?$")
_CELL = re.compile(r"^%%vcache\s+(?P<rest>.*)$")
_CELL_OPTIONS = ("--quiet", "--output", "--no-cache")


def matcher_for(session: Session) -> Callable[[CompletionContext], SimpleMatcherResult]:
    """A matcher for `shell.Completer.custom_matchers`; it silences the others on our own lines."""

    @context_matcher(identifier="visioncache", priority=100)
    def match_vcache(context: CompletionContext) -> SimpleMatcherResult:
        text = context.text_until_cursor
        line, cell = _LINE.match(text), _CELL.match(text) if context.cursor_line == 0 else None
        rest = (cell or line).group("rest") if cell or line else None  # type: ignore[union-attr]
        if rest is None:
            return {"completions": [], "suppress": False}
        words = rest.split(" ")
        typed = words[-1]
        before = [word for word in words[:-1] if word]
        offered = _cell_words(session, before) if cell else _line_words(session, before)
        found = sorted({word for word in offered if word.startswith(typed)})
        if not found and not typed:
            return {"completions": [], "suppress": False}
        # With nothing to offer, what was typed stands for itself: an empty answer silences nobody.
        return {
            "completions": [SimpleCompletion(word) for word in found or [typed]],
            "suppress": True,
            "matched_fragment": typed,
        }

    matcher: Callable[[CompletionContext], SimpleMatcherResult] = match_vcache
    return matcher


def _line_words(session: Session, before: list[str]) -> Iterator[str]:
    if not before:
        yield from COMMANDS
        return
    command = COMMANDS.get(before[0])
    if command is None:
        return
    yield from _arguments(session, command, before[1:])


def _cell_words(session: Session, before: list[str]) -> Iterator[str]:
    if before and before[-1] in ("-o", "--output"):
        yield from _names(session)
    else:
        yield from (option for option in _CELL_OPTIONS if option not in before)


def _arguments(session: Session, command: Any, before: list[str]) -> Iterator[str]:
    """What may come next: an option's value, or options and the next argument's values."""
    options = command.parser._option_string_actions  # noqa: SLF001  # argparse tells it no other way
    last = options.get(before[-1]) if before else None
    if last is not None and last.nargs != 0:
        if last.dest == "output":
            yield from _names(session)
        return
    yield from (name for name, action in options.items() if name.startswith("--") and name not in before)
    given = 0
    for i, word in enumerate(before):
        taken = i > 0 and options.get(before[i - 1]) is not None and options[before[i - 1]].nargs != 0
        given += not word.startswith("-") and not taken
    positional = [a for a in command.parser._actions if not a.option_strings]  # noqa: SLF001
    if positional and positional[-1].nargs in ("+", "*", REMAINDER):
        given = min(given, len(positional) - 1)
    if given >= len(positional):
        return
    action = positional[given]
    if action.choices:
        yield from action.choices
    elif action.dest in command.variables:
        yield from _names(session)
    elif action.dest == "entry":
        yield from _labels(session)


def _names(session: Session) -> Iterator[str]:
    """The notebook's own variables."""
    yield from (n for n in session.namespace if not n.startswith("_") and n not in session.hidden)


def _labels(session: Session) -> Iterator[str]:
    """Labels of the latest entries, where one word is enough to type them; and variables."""
    try:
        cache = session.find()
    except ValueError:
        cache = None
    for key in cache.keys()[-50:] if cache is not None else ():
        entry = cache.entry(key) if cache is not None else None
        if entry is not None and entry.label and not re.search(r"[\s'\"]", entry.label):
            yield entry.label
    yield from _names(session)
