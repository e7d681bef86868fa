"""Completion of `%vcache` lines: subcommands, options and names, and nothing else."""

from __future__ import annotations

import re
import shlex
from argparse import REMAINDER
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.core.completer import SimpleCompletion, context_matcher

from visioncache.jupyter.command import COMMANDS
from visioncache.jupyter.session import file_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from IPython.core.completer import CompletionContext, SimpleMatcherResult

    from visioncache.jupyter.session import Session

_LINE = re.compile(r"^\s*(?:[\w, ]+=\s*)?%vcache(?:\s+(?P<rest>.*))?$")
_CELL = re.compile(r"^%%vcache\s+(?P<rest>.*)$")
_TYPED = re.compile(r"""(?:"[^"]*|'[^']*|(?:[^\s'"\\]|\\.)+)$""")
_NEEDS_QUOTES = re.compile(r"""[\s'"#]""")
_CELL_OPTIONS = ("--quiet", "--output", "--no-cache", "--compare", "--as")


def matcher_for(session: Session) -> Callable[[CompletionContext], SimpleMatcherResult]:
    """A matcher for `shell.Completer.custom_matchers`; it silences the others on our own lines."""

    @context_matcher(identifier="visioncache", priority=100)
    def match_vcache(context: CompletionContext) -> SimpleMatcherResult:
        text = context.text_until_cursor
        line, cell = _LINE.match(text), _CELL.match(text) if context.cursor_line == 0 else None
        rest = (cell or line).group("rest") if cell or line else None  # type: ignore[union-attr]
        if rest is None:
            return {"completions": [], "suppress": False}
        before, typed = _split(rest)
        quote = typed[:1] if typed[:1] in {"'", '"'} else ""
        offered = _cell_words(session, before) if cell else _line_words(session, before, typed[len(quote) :])
        found = sorted({word for word in offered if word.startswith(typed[len(quote) :])})
        if not found and not typed:
            return {"completions": [], "suppress": False}
        # With nothing to offer, what was typed stands for itself: an empty answer silences nobody.
        return {
            "completions": [SimpleCompletion(_quoted(word, quote)) for word in found]
            or [SimpleCompletion(typed)],
            "suppress": True,
            "matched_fragment": typed,
        }

    matcher: Callable[[CompletionContext], SimpleMatcherResult] = match_vcache
    return matcher


def _split(rest: str) -> tuple[list[str], str]:
    """The words before the cursor, and the one being typed, its opening quote included."""
    typed = _TYPED.search(rest)
    start = typed.start() if typed else len(rest)
    try:
        before = shlex.split(rest[:start])
    except ValueError:  # a quote that is closed nowhere
        before = rest[:start].split()
    return before, rest[start:]


def _quoted(word: str, quote: str) -> str:
    """A word as it must be typed: in quotes where it has spaces, quotes or a comment's sign."""
    if quote or _NEEDS_QUOTES.search(word):
        quote = quote or ("'" if '"' in word else '"')
        return f"{quote}{word}{'' if word.endswith('/') else quote}"  # a folder goes on
    return word


def _line_words(session: Session, before: list[str], typed: str) -> Iterator[str]:
    if not before:
        yield from COMMANDS
        return
    command = COMMANDS.get(before[0])
    if command is None:
        return
    yield from _arguments(session, command, before[1:], typed)


def _cell_words(session: Session, before: list[str]) -> Iterator[str]:
    if before and before[-1] in ("-o", "--output"):
        yield from _names(session)
    else:
        yield from (option for option in _CELL_OPTIONS if option not in before)


def _arguments(session: Session, command: Any, before: list[str], typed: str) -> Iterator[str]:
    """List what may come next: an option's value, or options and the next argument's values."""
    options = command.parser._option_string_actions  # noqa: SLF001  # argparse tells it no other way
    last = options.get(before[-1]) if before else None
    if last is not None and last.nargs != 0:
        if last.dest == "output" or last.dest in command.variables:
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
    yield from _values(session, command, positional[given], typed)


def _values(session: Session, command: Any, action: Any, typed: str) -> Iterator[str]:
    """List the values that an argument may have."""
    if action.choices:
        yield from action.choices
    elif action.dest in command.variables:
        yield from _names(session)
    elif action.dest == "entry":
        yield from _labels(session)
    elif action.dest == "session":
        yield from _sessions()
    if action.dest in ("path", "session", "image", "images"):
        yield from _paths(typed)


def _names(session: Session) -> Iterator[str]:
    """The notebook's own variables."""
    yield from (n for n in session.namespace if not n.startswith("_") and n not in session.hidden)


def _labels(session: Session) -> Iterator[str]:
    """Labels and bare file names of the latest entries; and variables."""
    try:
        cache = session.find()
    except ValueError:
        cache = None
    for key in cache.keys()[-50:] if cache is not None else ():
        entry = cache.entry(key) if cache is not None else None
        if entry is not None and entry.label and not ("'" in entry.label and '"' in entry.label):
            yield entry.label
            yield file_name(entry.label)
    yield from _names(session)


def _sessions() -> Iterator[str]:
    """The names of shipped sessions."""
    from visioncache.study.benchmark.sessions import session_names

    yield from session_names()


def _paths(typed: str) -> Iterator[str]:
    """Files and folders that a path may go on with; a folder ends in a slash."""
    folder, slash, _ = typed.rpartition("/")
    try:
        for found in sorted(Path(folder + slash or ".").expanduser().iterdir())[:200]:
            if not found.name.startswith("."):
                yield f"{folder}{slash}{found.name}{'/' if found.is_dir() else ''}"
    except OSError:
        return
