"""Capacities of a replay that names none, and the line that says how large is large enough."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from traces_for_tests import examples, frame, traces

from visioncache.cli import main
from visioncache.sizes import format_size, parse_size
from visioncache.study import enough, load_trace, recommend, replay, save_trace, workload
from visioncache.study.data import data_path
from visioncache.study.sim.capacities import usual_capacities
from visioncache.study.trace.lookups import requests
from visioncache.study.trace.workloads import WORKLOADS

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd


@pytest.mark.parametrize("by", ["bytes", "entries"])
@pytest.mark.parametrize("name", [*WORKLOADS, "one image", "a recording"])
def test_the_usual_capacities_say_something_of_every_trace(name: str, by: str) -> None:
    trace = {
        "one image": lambda: frame([0, 0], [5, 5]),
        "a recording": lambda: load_trace(data_path("sessions", "traces", "album.jsonl")),
    }.get(name, lambda: workload(name, seed=1))()
    asked = requests(trace)
    sizes = asked["nbytes"] if by == "bytes" else asked["nbytes"] * 0 + 1
    capacities = usual_capacities(asked, by)
    assert len(capacities) <= 7
    assert capacities == sorted(set(capacities))
    assert capacities[-1] == sizes[~asked["key"].duplicated()].sum()  # all of it fits
    assert capacities[0] >= sizes.max()  # a smaller one has no room for an image
    shown = [format_size(capacity) for capacity in capacities]
    assert by == "entries" or len(set(shown)) == len(shown)
    hits = replay(asked, ["lru"], by=by).pivot_table(index="policy", columns="capacity", values="hit_ratio")
    assert (hits.loc["offline-bound"] > 0).all()
    assert hits.loc["lru"].iloc[-1] == hits.loc["infinite"].iloc[-1] > 0


@pytest.mark.parametrize("by", ["bytes", "entries"])
@pytest.mark.parametrize("name", [*WORKLOADS, "a recording"])
def test_the_commands_last_line_is_what_a_replay_gives(
    name: str, by: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = data_path("sessions", "traces", "screens.jsonl")
    if name != "a recording":
        save_trace(workload(name, seed=1), path := tmp_path / "t.jsonl")
    assert main(["simulate", str(path), "-q", "--policies", "visioncache", "--by", by]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    told = re.findall(r"[\d.]+ (?:[KMG]?i?B|entr)", last)
    sizes: list[int | str] = [text if by == "bytes" else int(text.split()[0]) for text in told]
    assert len(sizes) == (1 if "all hits" in last else 2)
    table = replay(path, "visioncache", sizes, by).pivot_table(
        index="policy", columns="capacity", values="hit_ratio"
    )
    ours, most = table.loc["visioncache"].tolist(), table.loc["infinite"].iloc[0]
    assert ours[-1] == pytest.approx(most)
    assert ours[0] >= 0.95 * most
    assert [f"{ratio:.0%}" for ratio in sorted({ours[0], most})] == re.findall(r"\((\d+%)", last)


@given(traces(keys=8, length=60), st.floats(0.05, 1), st.sampled_from(["bytes", "entries"]))
@settings(max_examples=examples(60), deadline=None)
def test_what_is_enough_is_the_smallest_that_is(trace: pd.DataFrame, share: float, by: Any) -> None:
    found = enough(trace, by, share)
    capacities = range(1, found.whole + 1)
    hits = replay(trace, "lru", capacities, by, references=False)["hit_ratio"].to_numpy()
    able = hits >= share * found.ceiling - 1e-12
    assert found.capacity == capacities[int(able.argmax())]
    assert found.hit_ratio == pytest.approx(hits[found.capacity - 1])
    assert found.whole == capacities[int((hits >= found.ceiling - 1e-12).argmax())]


def test_what_is_enough_is_told_in_plain_words() -> None:
    assert str(enough(frame([0, 1], [9, 9]))) == "no cache would have hit: every look-up was a first one"
    asked = [0, 0, 1, 1, 2, 2, 0]
    trace = frame(asked, [123_456] * 7)
    assert (
        str(enough(trace, share=0.6))
        == "a cache of 121 KiB is enough for 60% of the hits that any size gives "
        "(43% of look-ups); beyond 362 KiB nothing more is hit (57%; the rest are first looks)"
    )
    assert str(enough(trace, "entries")) == (
        "a cache of 3 entries is enough for all hits that any size gives "
        "(57% of look-ups; the rest are first looks)"
    )
    with pytest.raises(ValueError, match="share=2: a share is above 0"):
        enough(trace, share=2)


@given(st.integers(1, 2**50))
@settings(deadline=None)
def test_bytes_that_are_advised_are_enough_as_they_are_printed(size: int) -> None:
    trace = frame([0, 0], [size, size])
    for said in (str(recommend(trace)).removeprefix("with "), str(enough(trace)).removeprefix("a cache of ")):
        match = re.match(r"[\d.]+ (?:[KMGT]i)?B", said)
        assert match is not None
        assert size <= parse_size(match[0]) <= 1.02 * size + 1


def test_with_a_time_to_first_token_the_last_line_is_of_the_order_of_times(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = workload("interleaved", seed=1)
    shuffled = trace.sample(frac=1, random_state=0)
    save_trace(trace, tmp_path / "in-order")
    save_trace(shuffled, tmp_path / "shuffled")
    last = []
    for name in ("in-order", "shuffled"):
        assert main(["simulate", str(tmp_path / name), "-q", "--policies", "lru", "--objective", "ttft"]) == 0
        last.append(capsys.readouterr().out.splitlines()[-1])
    assert last[0] == last[1] == str(enough(trace))
    assert str(enough(shuffled)) != last[0]
