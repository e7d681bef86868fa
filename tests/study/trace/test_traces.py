"""The trace format: written, read, checked, recorded live, anonymised, and run again."""

from __future__ import annotations

import json
import sys
import threading
from subprocess import run
from typing import TYPE_CHECKING, Any, get_args

import jsonschema
import mlx.core as mx
import numpy as np
import pandas as pd
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st
from traces_for_tests import examples

from visioncache import Event, Key, VisionFeatureCache
from visioncache.events import Kind, new_request
from visioncache.study import Recorder, anonymise, load_trace, read_trace, replay, rerun, save_trace
from visioncache.study.benchmark.sessions import load_session, session_names
from visioncache.study.data import data_path
from visioncache.study.trace.errors import TraceError
from visioncache.study.trace.lookups import requests
from visioncache.study.trace.traces import trace_frame
from visioncache.study.trace.workloads import WORKLOADS, workload

if TYPE_CHECKING:
    from pathlib import Path

    from visioncache import EventLog

SCHEMA = json.loads(data_path("sessions", "trace.schema.json").read_text())
EVENT = ["time", "session", "turn", "request", "key", "nbytes", "seconds", "outcome", "seq"]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.5
        return self.now


Operation = tuple[str, list[int]]
operations = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask", "ask", "ask", "overwrite", "pop", "clear", "fail"]),
        st.lists(st.integers(0, 9), min_size=1, max_size=4),
    ),
    max_size=40,
)


def live(steps: list[Operation], max_size: int | None, max_bytes: int | None) -> EventLog:
    """Log what a cache logs when images are asked for as `attach` does: look all up, then put what missed."""
    cache = VisionFeatureCache(max_size, max_bytes, clock=Clock())
    for turn, (what, images) in enumerate(steps):
        with cache.tag(session=f"s{turn % 2}", turn=turn):
            if what == "clear":
                cache.clear()
            elif what == "pop":
                cache.pop(f"image {images[0]}")
            else:
                missed = [i for i in images if cache.get(f"image {i}") is None]
                if what != "fail":  # an encode that raises stores nothing
                    for i in images if what == "overwrite" else missed:
                        cache.put(f"image {i}", np.zeros(1 + 7 * i, np.uint8), seconds=i / 4)
    return cache.events


@given(operations, st.one_of(st.none(), st.integers(1, 8)), st.one_of(st.none(), st.integers(20, 200)))
@settings(max_examples=examples(150), deadline=None)
def test_a_recorded_run_again_is_the_same_event_for_event(
    steps: list[Operation], max_size: int | None, max_bytes: int | None
) -> None:
    recorded = trace_frame(live(steps, max_size, max_bytes))
    known = set(recorded.loc[recorded["outcome"].isin(["hit", "put", "reject"]), "key"])
    if not set(recorded["key"].dropna()) <= known:
        with pytest.raises(TraceError, match="no event tells how many bytes"):
            rerun(recorded, max_size=max_size, max_bytes=max_bytes)
        return
    again = rerun(recorded, max_size=max_size, max_bytes=max_bytes)
    pd.testing.assert_frame_equal(recorded[EVENT], again[EVENT], check_dtype=False)


@given(operations, st.integers(1, 8))
@settings(max_examples=examples(60), deadline=None)
def test_under_other_bounds_a_run_again_is_what_that_cache_would_have_done(
    steps: list[Operation], size: int
) -> None:
    steps = [(what, [*dict.fromkeys(images)]) for what, images in steps if what == "ask"]
    recorded = trace_frame(live(steps, 4, None))
    fresh = trace_frame(live(steps, size, None))
    again = rerun(recorded, max_size=size)
    assert again[["key", "outcome"]].to_numpy().tolist() == fresh[["key", "outcome"]].to_numpy().tolist()


@pytest.mark.parametrize("seed", range(3))
def test_a_recording_by_several_threads_run_again_is_the_same_event_for_event(
    seed: int, tmp_path: Path
) -> None:
    cache = VisionFeatureCache(6, 400, log=0, clock=Clock())
    draw = np.random.default_rng(seed).integers(0, 12, (4, 250))
    together = threading.Barrier(4)

    def ask(number: int) -> None:
        together.wait()
        for turn, image in enumerate(draw[number].tolist()):
            with cache.tag(session=f"s{number}", turn=turn, request=new_request()):
                cache.get_or_compute(f"{image}", lambda size=image: np.zeros(1 + 9 * size, np.uint8))

    with Recorder(cache, tmp_path / "r.jsonl", max_bytes="10 MB") as recorder:
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    recorded = load_trace(recorder.paths)
    assert recorded["seq"].tolist() == list(range(1, len(recorded) + 1))
    assert recorded["outcome"].value_counts()[["hit", "miss", "put", "evict"]].gt(50).all()
    again = rerun(recorded, max_size=6, max_bytes=400)
    pd.testing.assert_frame_equal(recorded[EVENT], again[EVENT], check_dtype=False)


def test_lines_out_of_order_are_put_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    numbers = [2, 1, 3, 4, 1, 3, 2]  # of two recordings, one file after the other
    lines = [_line(seq=seq, time=float(i)) for i, seq in enumerate(numbers)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines[:4]))
    (tmp_path / "b.jsonl").write_text("\n".join(lines[4:]))
    both = load_trace([tmp_path / "a.jsonl", tmp_path / "b.jsonl"])
    assert both["seq"].tolist() == [1, 2, 3, 4, 1, 2, 3]


@given(operations, st.integers(1, 8))
@settings(max_examples=examples(60), deadline=None)
def test_a_replay_of_a_recording_saves_the_seconds_that_the_recording_saved(
    steps: list[Operation], size: int
) -> None:
    clock, cache = Clock(), VisionFeatureCache(size)
    for number, (_, (image, *_)) in enumerate(steps):
        if cache.get(f"{image}") is None:  # the same image never costs the same twice
            cache.put(f"{image}", np.zeros(4), seconds=clock() * (1 + number % 3))
    asked = requests(cache.events)
    if steps:
        table = replay(asked, "visioncache", size, by="entries", references=False)
        assert table["seconds_saved"][0] == pytest.approx(cache.info().seconds_saved)
        assert round(table["hit_ratio"][0] * len(asked)) == cache.info().hits


@pytest.mark.parametrize("name", session_names())
def test_a_replay_of_a_shipped_recording_saves_the_seconds_that_it_recorded(name: str) -> None:
    recorded = load_trace(data_path("sessions", "traces", f"{name}.jsonl"))
    saved = recorded.loc[recorded["outcome"].eq("hit"), "seconds"].sum()
    size = load_session(name).max_size
    table = replay(recorded, "visioncache", size, by="entries", references=False)
    assert table["seconds_saved"][0] == pytest.approx(saved)


def test_a_look_up_is_worth_its_own_encode_or_the_median_of_its_images() -> None:
    rows = [
        ("miss", "a", 0, 0.0),  # the put that follows
        ("put", "a", 8, 1.0),
        ("hit", "a", 8, 1.0),
        ("evict", "a", 8, 1.0),
        ("miss", "a", 0, 0.0),
        ("put", "a", 8, 5.0),
        ("hit", "a", 8, 5.0),
        ("pop", "a", 8, 0.0),
        ("miss", "a", 0, 0.0),  # nothing follows: the median of its puts
        ("hit", "b", 8, 2.0),
        ("miss", "b", 0, 0.0),  # never put here: the median of its hits
    ]
    trace = pd.DataFrame(rows, columns=["outcome", "key", "nbytes", "seconds"]).assign(time=range(len(rows)))
    assert requests(trace)["seconds"].tolist() == [1, 1, 5, 5, 3, 2, 2]


def test_seconds_by_stage_are_those_of_the_put_that_follows(tmp_path: Path) -> None:
    cache = VisionFeatureCache()
    cache.get("a")
    with cache.tag(decode_s=0.25, preprocess_s=0.5, tower_s=1.0):
        cache.put("a", np.zeros(4), seconds=1.75)
    cache.get("a")
    cache.events.to_jsonl(tmp_path / "t.jsonl")
    asked = requests(tmp_path / "t.jsonl")
    assert (
        asked[["decode_s", "preprocess_s", "tower_s", "seconds"]].to_numpy().tolist()
        == [[0.25, 0.5, 1.0, 1.75]] * 2
    )


def test_a_trace_names_nobody_and_nothing(tmp_path: Path) -> None:
    cache = VisionFeatureCache()
    cache.put("/home/somebody/secret.png", np.zeros(3), label="secret.png")
    cache.get("/home/somebody/secret.png")
    assert cache.events.to_jsonl(tmp_path / "t.jsonl") == 2
    text = (tmp_path / "t.jsonl").read_text()
    assert "somebody" not in text
    assert "secret" not in text
    assert len(set(load_trace(tmp_path / "t.jsonl")["key"])) == 1


@given(operations)
@settings(max_examples=examples(30), deadline=None)
def test_every_line_keeps_the_schema(steps: list[Operation]) -> None:
    validator = jsonschema.Draft202012Validator(SCHEMA)
    for event in live(steps, 3, 100):
        validator.validate(json.loads(json.dumps(event.trace_line())))


def test_every_kind_of_event_is_written_and_read_whatever_it_is_tagged_with(tmp_path: Path) -> None:
    cache = VisionFeatureCache(max_size=2, max_bytes=100, store=tmp_path / "features")
    key = Key.from_source("a")
    odd = {"session": tmp_path, "turn": np.int64(3), "tokens": mx.array(5)}
    odder = {"session": 2.5, "turn": float("nan"), "tokens": float("nan")}
    with Recorder(cache, tmp_path / "live.jsonl") as recorder:
        for tags in (odd, odder):
            with cache.tag(**tags):
                for name in ("a", "b", "c", "a"):  # the last is in the store alone
                    if cache.get(name) is None:
                        cache.put(name, mx.zeros(10))
                    cache.get(name)
                    assert cache.flush(10)
                cache.put("large", mx.zeros(1000))
                cache.pop("a")
                cache.resize(max_size=1)
                cache.clear()
                cache._store_failed(key, "an image's")
                cache._store_failed(None, "the store's own")
    cache.close()
    assert cache.events.to_jsonl(tmp_path / "log.jsonl") == len(cache.events)
    assert (tmp_path / "log.jsonl").read_text() == (tmp_path / "live.jsonl").read_text()
    validator = jsonschema.Draft202012Validator(SCHEMA)
    for line in (tmp_path / "log.jsonl").read_text().splitlines():
        validator.validate(json.loads(line))
    for source in (cache.events, tmp_path / "log.jsonl", recorder.paths):
        trace = load_trace(source)
        assert set(trace["outcome"]) == set(get_args(Kind))
        assert [*trace[["session", "turn", "tokens"]].iloc[0]] == [str(tmp_path), 3, 5]
        assert [*trace[["session", "turn"]].iloc[-1]] == ["2.5", "nan"]
        assert pd.isna(trace["tokens"].iloc[-1])


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_workload_is_seeded_and_survives_a_file(name: str, tmp_path: Path) -> None:
    made = workload(name, seed=7)
    pd.testing.assert_frame_equal(made, workload(name, seed=7))
    save_trace(made, tmp_path / "w.jsonl")
    validator = jsonschema.Draft202012Validator(SCHEMA)
    for line in (tmp_path / "w.jsonl").read_text().splitlines()[:50]:
        validator.validate(json.loads(line))
    stages = ["decode_s", "preprocess_s", "tower_s"]
    columns = ["time", "session", "turn", "key", "nbytes", "tokens", "seconds", *stages]
    np.testing.assert_allclose(made[stages].sum(axis=1), made["seconds"])
    back = requests(tmp_path / "w.jsonl")[columns]
    pd.testing.assert_frame_equal(back, made[columns], check_dtype=False)
    assert made["time"].is_monotonic_increasing


def _line(**changes: Any) -> str:
    good = {"v": 1, "time": 1.5, "session": "a", "turn": 0, "key": "k", "bytes": 8}
    return json.dumps(good | {"tokens": 2, "seconds": 0.1, "outcome": "hit"} | changes)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("nope", "not JSON"),
        ("\xff", "not JSON"),
        ("[1]", "a line is an object, not list"),
        (_line(v=2), "version 2; this program reads 1"),
        (_line(outcome="guess"), "outcome 'guess'"),
        (_line(key=None), "'key' is text, not None"),
        (_line(bytes=-1), "'bytes' is a whole number from 0 to 2**50, not -1"),
        (_line(bytes=1.5), "'bytes' is a whole number from 0 to 2**50, not 1.5"),
        (_line(bytes=True), "'bytes' is a whole number from 0 to 2**50, not True"),
        (_line(bytes="8"), "'bytes' is a whole number from 0 to 2**50, not '8'"),
        (_line(seconds=float("nan")), "'seconds' is a number from 0 to 2**50, not nan"),
        (_line(bytes=2**62), "'bytes' is a whole number from 0 to 2**50, not 4611686018427387904"),
        (_line(seconds=-1), "'seconds' is a number from 0 to 2**50, not -1"),
        (_line(seconds=float("inf")), "'seconds' is a number from 0 to 2**50, not inf"),
        (_line(time=float("-inf")), "'time' is a number of at most 2**63, not -inf"),
        (_line(session=[1]), "'session' is text, a whole number or null, not [1]"),
        (_line(seq="first"), "'seq' is a whole number from 0, or null, not 'first'"),
        (_line(time=None), "'time' is a number of at most 2**63, not None"),
        (_line(tokens="many"), "'tokens' is a number from 0 to 2**50, or null, not 'many'"),
        ('{"v": 1, "time"', "not JSON"),
    ],
)
def test_a_bad_line_is_told_by_number_and_never_guessed(line: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(f"{_line()}\n\n{line}\n{_line()}\n", encoding="latin-1")
    trace, bad = read_trace(path)
    assert len(trace) == 2
    assert [(b.path, b.number) for b in bad] == [(str(path), 3)]
    assert reason in bad[0].reason
    with pytest.raises(TraceError, match=r"t\.jsonl:3: "):
        load_trace(path)


def test_an_image_whose_size_no_event_tells_is_left_out_and_counted() -> None:
    cache = VisionFeatureCache()
    cache.get("never stored")
    cache.get("stored")
    cache.put("stored", np.zeros(4), seconds=0.5)
    asked = requests(cache.events)
    assert (len(asked), asked.attrs["unsized"]) == (1, 1)
    assert asked.loc[0, ["nbytes", "seconds", "outcome"]].tolist() == [32, 0.5, "miss"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"nbytes": [1, -1]}, "row 1: 'nbytes' is a whole number from 0 to 2**50, not -1"),
        ({"nbytes": [1, 2**62]}, "row 1: 'nbytes' is a whole number from 0 to 2**50"),
        ({"nbytes": [1, 1.5]}, "row 1: 'nbytes' is a whole number from 0 to 2**50, not 1.5"),
        ({"nbytes": [1, "much"]}, "row 1: 'nbytes' is a whole number from 0 to 2**50, not 'much'"),
        ({"seconds": [0.0, 1e300]}, "row 1: 'seconds' is a number from 0 to 2**50, not 1e+300"),
        ({"seconds": [0.0, np.inf]}, "row 1: 'seconds' is a number from 0 to 2**50, not inf"),
        ({"seconds": [-0.5, 1.0]}, "row 0: 'seconds' is a number from 0 to 2**50, not -0.5"),
    ],
)
def test_numbers_that_no_cache_could_have_are_one_line(changes: dict[str, Any], said: str) -> None:
    good = {"key": ["a", "b"], "nbytes": [1, 2], "seconds": [0.0, 1.0]}
    with pytest.raises(TraceError) as error:
        requests(pd.DataFrame(good | changes))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_sizes_that_add_up_to_more_than_64_bits_are_told_and_never_wrap() -> None:
    trace = pd.DataFrame({"key": [f"{i % 7}" for i in range(5000)], "nbytes": 2**50})
    with pytest.raises(TraceError, match=r"5.63e\+18 bytes in all, more than 2\*\*62"):
        requests(trace)


def test_look_ups_earlier_than_the_one_before_are_counted() -> None:
    trace = pd.DataFrame({"key": ["a"] * 4, "nbytes": 1, "time": [0.0, 2.0, 1.0, 3.0]})
    assert requests(trace).attrs["backwards"] == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"outcome": ["hit", "guess"]}, "row 1: outcome 'guess'"),
        ({"key": ["a", None]}, "row 1: 'key' is text, not None"),
        ({"time": [0.0, np.nan]}, "row 1: 'time' is a number of at most 2**63, not None"),
        ({"nbytes": [1, 1.5]}, "row 1: 'bytes' is a whole number"),
        ({"seconds": [1.0, -1.0]}, "row 1: 'seconds' is a number from 0 to 2**50, not -1"),
    ],
)
def test_nothing_is_written_that_could_not_be_read(
    changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    good = {"time": [0.0, 1.0], "key": ["a", "b"], "nbytes": [1, 2], "outcome": ["hit", "hit"]}
    with pytest.raises(TraceError) as error:
        save_trace(pd.DataFrame(good | changes), tmp_path / "t.jsonl")
    assert said in str(error.value)
    assert not (tmp_path / "t.jsonl").exists()


def test_a_frame_without_sizes_is_told_which_column_is_missing() -> None:
    with pytest.raises(TraceError, match="there is no nbytes"):
        requests(pd.DataFrame({"key": ["a"]}))


def test_the_recorder_writes_what_the_log_holds(tmp_path: Path) -> None:
    cache = VisionFeatureCache(2, clock=Clock())
    with Recorder(cache, tmp_path / "r.jsonl") as recorder:
        for i in (0, 1, 0, 2, 1):
            cache.get_or_compute(f"{i}", lambda: np.zeros(2))
    cache.get("after it was closed")
    expected = trace_frame(list(cache.events)[:-1])
    pd.testing.assert_frame_equal(load_trace(recorder.paths), expected, check_dtype=False)


def test_the_recorder_keeps_to_its_files_and_their_size(tmp_path: Path) -> None:
    cache = VisionFeatureCache(2, log=0)
    with Recorder(cache, tmp_path / "r.jsonl", max_bytes=2000, files=3) as recorder:
        for i in range(500):
            cache.get(f"{i}")
    assert [path.name for path in recorder.paths] == ["r.jsonl.2", "r.jsonl.1", "r.jsonl"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.jsonl", "r.jsonl.1", "r.jsonl.2"]
    assert all(path.stat().st_size <= 2000 for path in recorder.paths)
    times = load_trace(recorder.paths)["time"]
    assert times.is_monotonic_increasing
    assert times.iloc[-1] == max(times)


def test_a_new_recording_starts_without_the_last_ones_files(tmp_path: Path) -> None:
    cache = VisionFeatureCache(2)
    for lookups in (100, 1):
        with Recorder(cache, tmp_path / "r.jsonl", max_bytes=2000, files=3) as recorder:
            for i in range(lookups):
                cache.get(f"{i}")
    assert len(load_trace(recorder.paths)) == 1


def test_threads_record_whole_lines(tmp_path: Path) -> None:
    cache = VisionFeatureCache(5, log=0)
    with Recorder(cache, tmp_path / "r.jsonl", max_bytes="10 MB") as recorder:
        threads = [
            threading.Thread(target=lambda: [cache.get(f"{i % 9}") for i in range(300)]) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(load_trace(recorder.paths)) == 1200


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
def test_a_disk_that_is_full_ends_the_recording_but_no_look_up(tmp_path: Path) -> None:
    cache = VisionFeatureCache(5)
    (tmp_path / "r.jsonl").symlink_to("/dev/full")
    recorder = Recorder(cache, tmp_path / "r.jsonl")
    with pytest.warns(UserWarning, match="No space left"):
        cache.get("a")
    cache.get("b")  # no second warning
    assert cache.info().misses == 2
    recorder.close()


@pytest.mark.parametrize("options", [{"max_bytes": 0}, {"files": 1}, {"max_bytes": "many"}])
def test_a_recorder_refuses_what_it_cannot_keep_to(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"max_bytes|size"):
        Recorder(VisionFeatureCache(), tmp_path / "r.jsonl", **options)


def test_anonymous_traces_keep_identity_and_lose_names() -> None:
    cache = VisionFeatureCache(2, clock=Clock())
    for turn, (session, image) in enumerate([("ada", "x"), ("bob", "y"), ("ada", "x"), ("ada", "z")]):
        with cache.tag(session=session, turn=turn, note="of ada"):
            cache.get_or_compute(image, lambda: np.zeros(2))
    trace = trace_frame(cache.events).assign(note="of ada")
    hidden = anonymise(trace)
    assert list(hidden.columns) == [
        "time",
        "session",
        "turn",
        "key",
        "nbytes",
        "tokens",
        "seconds",
        "outcome",
        "seq",
        "request",
        "decode_s",
        "preprocess_s",
        "tower_s",
    ]
    assert not set(hidden["key"]) & set(trace["key"])
    assert pd.factorize(hidden["key"])[0].tolist() == pd.factorize(trace["key"])[0].tolist()
    assert hidden["session"].unique().tolist() == ["s1", "s2"]
    assert hidden["time"].min() == 0
    assert "ada" not in hidden.to_json()
    assert rerun(hidden, max_size=2)["outcome"].tolist() == trace["outcome"].tolist()


def test_a_traces_keys_are_not_a_digest_that_anybody_could_guess() -> None:
    event = Event(0.0, "hit", Key.from_source("/home/ada/secret.png"))
    guess = blake3(b"s:/home/ada/secret.png").hexdigest(16)
    assert event.trace_line()["key"] != guess
    assert event.trace_line()["key"] == event.trace_line()["key"]
    assert (
        event.trace_line(b"a" * 32)["key"] == event.trace_line(b"a" * 32)["key"] != event.trace_line()["key"]
    )


def test_anonymous_turns_and_requests_are_numbers_whatever_they_were() -> None:
    cache = VisionFeatureCache(2, clock=Clock())
    asked = [("ada", "hello Bob", 17), ("bob", 5, 18), ("ada", "bye Bob", 40), ("ada", "hello Bob", 41)]
    for session, turn, request in asked:
        with cache.tag(session=session, turn=turn, request=request):
            cache.get("x")
    hidden = anonymise(trace_frame(cache.events))
    assert hidden["turn"].tolist() == [1, 1, 2, 1]
    assert hidden["request"].tolist() == [1, 2, 3, 4]
    assert hidden["seq"].tolist() == [1, 2, 3, 4]
    assert "Bob" not in hidden.to_json()


def test_anonymous_sizes_and_seconds_can_be_rounded(tmp_path: Path) -> None:
    trace = pd.DataFrame(
        {"time": 0.0, "key": ["a", "b"], "nbytes": [6_406_144, 37], "seconds": [0.12345, 0.0]}
    )
    hidden = anonymise(trace, digits=2)
    assert hidden["nbytes"].tolist() == [6_400_000, 37]
    assert hidden["seconds"].tolist() == [0.12, 0.0]
    assert save_trace(hidden, tmp_path / "t.jsonl") == len(load_trace(tmp_path / "t.jsonl")) == 2
    with pytest.raises(ValueError, match="digits=0: 1 or more"):
        anonymise(trace, digits=0)
    with pytest.raises(ValueError, match="secret has 3 bytes; a key of blake3 has 32"):
        anonymise(trace, secret=b"abc")


def test_anonymous_keys_agree_between_traces_only_under_one_secret() -> None:
    trace = workload("loop", rounds=1)
    first, second, other = (anonymise(trace, secret=s * 32)["key"] for s in (b"a", b"a", b"b"))
    assert first.equals(second)
    assert not set(first) & set(other)
    assert not set(anonymise(trace)["key"]) & set(anonymise(trace)["key"])


def test_only_what_runs_a_model_imports_mlx() -> None:
    code = (
        "import sys, visioncache.study as study\n"
        "for name in set(study.__all__) - {'bench', 'load_model'}: getattr(study, name)\n"
        "sys.exit(any(m.startswith('mlx') for m in sys.modules))"
    )
    assert run([sys.executable, "-c", code], check=False).returncode == 0  # our own
