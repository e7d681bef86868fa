"""Sessions: conversations about images, as people write them down, one turn a line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visioncache.study.data import data_path

if TYPE_CHECKING:
    from collections.abc import Iterator

_TURN_FIELDS = {"ask": str, "images": list, "expect": str, "after": int}


class SessionError(ValueError):
    """A session that can't be read; the message says which file, which line and what is wrong."""


@dataclass(frozen=True)
class SessionTurn:
    """One question, the images that it brings, and its right answer."""

    ask: str
    images: tuple[Path, ...] = ()
    expect: str | None = None
    after: int | None = None
    """The turn (from 1) whose conversation it continues; 0 starts a new one; None: the one before."""


@dataclass(frozen=True)
class Session:
    """A named sequence of turns, and the cache that it is meant for."""

    name: str
    about: str
    turns: tuple[SessionTurn, ...]
    max_size: int = 20

    @property
    def images(self) -> list[Path]:
        """Every image, in order of first appearance."""
        return list(dict.fromkeys(path for turn in self.turns for path in turn.images))

    def shown(self, turn: int) -> list[Path]:
        """The images of the conversation that turn `turn` (from 0) belongs to, as of that turn."""
        item = self.turns[turn]
        before = turn if item.after is None else item.after
        earlier = self.shown(before - 1) if before else []
        return [*earlier, *item.images]


def load_session(name: str | Path) -> Session:
    """A session by file, or by the name of one that is shipped (`album`, `page`, ...).

    The first line is an object with `session`, `about` and perhaps `max_size`; each other line is a
    turn: `ask`, and perhaps `images` (paths, from the session's folder or `data/images`), `expect`
    and `after`.

    Raises:
        SessionError: there is no such session, or a line of it is wrong.
    """
    path = Path(name)
    if path.suffix != ".jsonl":
        path = data_path("sessions") / f"{name}.jsonl"
    if not path.is_file():
        raise SessionError(f"no session {str(name)!r}; shipped are: {', '.join(session_names())}")
    lines = list(_objects(path))
    if not lines or "session" not in lines[0][1]:
        raise SessionError(f'{path}:1: the first line names the session: {{"session": ...}}')
    head = lines[0][1]
    turns = tuple(_turn(path, number, line) for number, line in lines[1:])
    for number, turn in enumerate(turns):
        if turn.after is not None and not 0 <= turn.after <= number:
            raise SessionError(f"{path}: turn {number + 1} comes after turn {turn.after}, not before")
    if not turns:
        raise SessionError(f"{path}: a session has at least one turn")
    return Session(head["session"], head.get("about", ""), turns, head.get("max_size", 20))


def session_names() -> list[str]:
    """The sessions that are shipped."""
    return sorted(path.stem for path in data_path("sessions").glob("*.jsonl"))


def _objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise SessionError(f"{path}:{number}: not JSON: {error.msg}") from None
        if not isinstance(value, dict):
            raise SessionError(f"{path}:{number}: a line is an object, not {type(value).__name__}")
        yield number, value


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise SessionError(f"{path}: not UTF-8") from None


def _turn(path: Path, number: int, line: dict[str, Any]) -> SessionTurn:
    where = f"{path}:{number}"
    for name, value in line.items():
        kind = _TURN_FIELDS.get(name)
        if kind is None:
            raise SessionError(f"{where}: unknown field {name!r}; known: {', '.join(_TURN_FIELDS)}")
        if not isinstance(value, kind) or isinstance(value, bool):
            raise SessionError(f"{where}: {name!r} is a {kind.__name__}, not {value!r}")
    if "ask" not in line:
        raise SessionError(f"{where}: a turn has an 'ask'")
    images = tuple(_image(where, path.parent, name) for name in line.get("images", ()))
    return SessionTurn(line["ask"], images, line.get("expect"), line.get("after"))


def _image(where: str, folder: Path, name: str) -> Path:
    if not isinstance(name, str):
        raise SessionError(f"{where}: an image is a path, not {name!r}")
    for base in (folder, data_path("images")):
        if (base / name).is_file():
            return base / name
    raise SessionError(f"{where}: no image {name!r} in {folder} or {data_path('images')}")
