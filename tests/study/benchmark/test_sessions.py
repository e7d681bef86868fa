"""Sessions: as people write them, and what is said when they are wrong."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from visioncache.study.benchmark.sessions import SessionError, load_session, session_names
from visioncache.study.data import data_path

if TYPE_CHECKING:
    from pathlib import Path

HEAD = '{"session": "s"}'


def written(folder: Path, *lines: str) -> Path:
    path = folder / "s.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["album", "page", "page_chat", "branches", "round_robin"])
def test_the_shipped_sessions_load_and_have_answers(name: str) -> None:
    session = load_session(name)
    assert name in session_names()
    assert all(turn.expect for turn in session.turns)
    assert all(path.is_file() for path in session.images)


def test_the_album_grows_by_a_photo_every_other_turn() -> None:
    session = load_session("album")
    assert [len(session.shown(turn)) for turn in range(8)] == [1, 1, 2, 2, 3, 3, 4, 4]


def test_the_page_is_one_picture_and_ten_prompts_of_their_own() -> None:
    session = load_session("page")
    assert (len(session.images), len(session.turns)) == (1, 10)
    assert all(session.shown(turn) == session.images for turn in range(10))


def test_the_page_chat_is_one_picture_asked_ten_times_in_one_chat() -> None:
    session = load_session("page_chat")
    assert (len(session.images), len(session.turns)) == (1, 10)
    assert all(turn.after is None for turn in session.turns)


def test_the_round_robin_is_twenty_images_over_a_cache_of_eight() -> None:
    session = load_session("round_robin")
    assert (len(session.images), session.max_size) == (20, 8)


def test_the_report_is_ten_pages_shown_at_once_in_one_chat() -> None:
    session = load_session("report")
    assert all(len(session.shown(turn)) == 10 for turn in range(8))


def test_the_agent_sees_one_more_screen_at_every_step() -> None:
    session = load_session("screens")
    assert [len(session.shown(turn)) for turn in range(8)] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_branch_sees_the_images_of_the_turn_that_it_continues() -> None:
    session = load_session("branches")
    assert [path.name for path in session.shown(6)] == ["astronaut.png"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([HEAD, "{not json"], r"s\.jsonl:2: not JSON"),
        ([HEAD, "[1]"], r"s\.jsonl:2: a line is an object, not list"),
        ([HEAD, '{"say": "hi"}'], r"s\.jsonl:2: unknown field 'say'; known: ask, images"),
        ([HEAD, '{"ask": 3}'], r"s\.jsonl:2: 'ask' is a str, not 3"),
        ([HEAD, '{"images": []}'], r"s\.jsonl:2: a turn has an 'ask'"),
        ([HEAD, '{"ask": "?", "images": ["no.png"]}'], r"s\.jsonl:2: no image 'no.png'"),
        ([HEAD, '{"ask": "?", "after": 4}'], r"turn 1 comes after turn 4"),
        (['{"ask": "?"}'], r"s\.jsonl:1: the first line names the session"),
        ([HEAD], "at least one turn"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(SessionError, match=message):
        load_session(written(tmp_path, *lines))


def test_an_unknown_session_names_the_shipped_ones() -> None:
    with pytest.raises(SessionError, match="no session 'albun'; shipped are: album"):
        load_session("albun")


def test_every_shipped_line_is_plain_json() -> None:
    for path in data_path("sessions").glob("*.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            json.loads(line)


def test_a_session_is_read_as_people_save_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"session": "mine"}\r\n' + '{"ask": "one\u2028two"}\n'.encode())
    assert [turn.ask for turn in load_session(path).turns] == ["one\u2028two"]


@pytest.mark.parametrize(
    ("turn", "says"),
    [(b'{"ask": "?", "images": [1]}', ":2: an image is a path, not 1"), (b"\xff", "not UTF-8")],
)
def test_a_session_that_cannot_be_read_names_its_file(turn: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_bytes(b'{"session": "mine"}\n' + turn)
    with pytest.raises(SessionError, match=f"mine.jsonl.*{says}"):
        load_session(path)
