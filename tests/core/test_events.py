"""Events: a bounded log, as a frame and as lines of JSON."""

from __future__ import annotations

import json
import os
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest

from visioncache import Event, EventLog, Key


def log_of(count: int, maxlen: int = 100) -> EventLog:
    log = EventLog(maxlen)
    for number in range(count):
        log.append(Event(float(number), "hit", Key.of(f"{number}"), f"{number}.jpg", 8, 0.5))
    return log


def test_a_log_keeps_the_latest_events_in_their_order() -> None:
    log = log_of(10, maxlen=4)
    assert [event.time for event in log] == [6, 7, 8, 9]
    assert (len(log), log.maxlen, log[0].time, log[-1].label) == (4, 4, 6, "9.jpg")
    assert [event.time for event in log[-2:]] == [8, 9]
    assert repr(log) == "EventLog(4 of at most 4)"
    log.clear()
    assert list(log) == []


def test_a_log_of_no_events_keeps_none() -> None:
    assert len(log_of(3, maxlen=0)) == 0


@pytest.mark.parametrize("maxlen", [-1, None, 2.5, True])
def test_a_log_has_a_bound(maxlen: int) -> None:
    with pytest.raises(ValueError, match=f"log={maxlen}"):
        EventLog(maxlen)


def test_a_frame_has_a_row_an_event_and_a_column_a_tag() -> None:
    log = log_of(2)
    log.append(Event(2.0, "clear", nbytes=16, tags={"session": "album", "turn": 3}))
    frame = log.to_frame()
    fields = ["time", "kind", "key", "label", "nbytes", "seconds", "seq"]
    assert list(frame.columns) == [*fields, "session", "turn"]
    assert list(frame["kind"]) == ["hit", "hit", "clear"]
    assert frame["key"].tolist()[:2] == ["s:0", "s:1"]
    assert frame["key"].isna().tolist() == [False, False, True]
    assert frame["session"].dropna().tolist() == ["album"]
    assert list(EventLog(3).to_frame().columns) == fields


def test_a_tag_never_hides_a_field() -> None:
    assert Event(1.0, "hit", tags={"kind": "mine", "turn": 1}).record()["kind"] == "hit"


def test_lines_of_json_hold_every_event(tmp_path: Path) -> None:
    log = log_of(2)
    log.append(Event(2.0, "put", Key.of("\ud800"), tags={"turn": np.int64(3), "path": Path("a.jpg")}))
    assert log.to_jsonl(tmp_path / "trace.jsonl") == 3
    lines = [json.loads(line) for line in (tmp_path / "trace.jsonl").read_text().splitlines()]
    assert (lines[0]["outcome"], lines[0]["bytes"], lines[0]["seconds"]) == ("hit", 8, 0.5)
    assert len({line["key"] for line in lines}) == 3
    # A trace tells images apart and names none of them.
    assert not any("jpg" in json.dumps(line) for line in lines)
    assert lines[2]["turn"] == 3


def test_an_event_can_be_pickled() -> None:
    event = log_of(1)[0]
    assert pickle.loads(pickle.dumps(event)) == event  # noqa: S301


def test_a_log_can_be_read_while_others_write() -> None:
    log = log_of(1000, maxlen=1000)
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            log.append(Event(0.0, "hit"))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert all(len(list(log)) == 1000 for _ in range(300))
    finally:
        done.set()
        writer.join()


def test_names_that_are_no_unicode_become_a_frame_that_any_file_can_hold(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    log = EventLog(9)
    log.append(Event(0.0, "put", Key.of(name), name, 8, 0.5, {"session": name, "turn": 1}))
    log.append(Event(1.0, "hit", Key.of("plain.png"), "plain.png"))
    frame = log.to_frame()
    assert frame["label"].tolist() == ["caf\\udce9.png", "plain.png"]
    assert frame["key"].tolist() == ["s:caf\\udce9.png", "s:plain.png"]
    assert frame["session"][0] == "caf\\udce9.png"
    frame.to_csv(tmp_path / "events.csv")
    repr(frame).encode()
    assert log[0].label == name  # which still opens the file
    assert log.to_jsonl(tmp_path / "events.jsonl") == 2
