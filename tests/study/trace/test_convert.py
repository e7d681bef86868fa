"""`visioncache convert`: every format comes in, every one that is written goes out, and nothing gets lost unsaid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from formats_for_tests import MADE

from visioncache.cli import main
from visioncache.study import load_trace, published_trace, save_trace, workload
from visioncache.study.data import data_path
from visioncache.study.trace.formats import FORMATS, format_of
from visioncache.study.trace.lookups import requests
from visioncache.study.trace.provenance import trace_digest
from visioncache.study.trace.writing import WRITERS

if TYPE_CHECKING:
    from pathlib import Path

OURS = ("visioncache", "csv", "parquet")
ENDINGS = {"visioncache": ".jsonl", "csv": ".csv", "parquet": ".parquet", "oracle-general": ".oracleGeneral"}


@pytest.mark.parametrize("to", WRITERS)
@pytest.mark.parametrize("name", MADE)
def test_every_format_is_converted_and_has_the_same_look_ups(
    name: str, to: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, lookups, _ = MADE[name]
    (tmp_path / "in").write_bytes(content)
    out = tmp_path / "out"
    assert main(["convert", str(tmp_path / "in"), str(out), "--to", to]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{out}: {lookups} of {lookups} lines, as {to}")
    assert format_of(out) == {"libcachesim-csv": "csv"}.get(to, to)  # with a head, it is one
    before, after = requests(tmp_path / "in"), requests(out)
    assert after["image"].tolist() == before["image"].tolist()
    assert after["nbytes"].tolist() == before["nbytes"].tolist()
    if to in OURS:
        assert trace_digest(after) == trace_digest(before)
    assert main(["simulate", str(out), "-q", "--policies", "lru", "--by", "entries"]) == 0


@pytest.mark.parametrize("to", ENDINGS)
@pytest.mark.parametrize("packed", ["", ".gz", ".zst"])
def test_the_format_is_the_one_that_the_name_ends_in(to: str, packed: str, tmp_path: Path) -> None:
    if to == "parquet":
        packed = ""
    save_trace(workload("loop"), tmp_path / "in.jsonl")
    out = tmp_path / f"out{ENDINGS[to]}{packed}"
    assert main(["convert", str(tmp_path / "in.jsonl"), str(out)]) == 0
    assert format_of(out) == to
    assert len(load_trace(out)) == 420


def test_a_trace_that_ships_goes_through_every_format_of_ours_unchanged(tmp_path: Path) -> None:
    trace = published_trace("demo-sessions-20k").head(2000)
    first = tmp_path / "a.jsonl"
    save_trace(trace, first)
    for name, other in (("a.jsonl", "b.parquet"), ("b.parquet", "c.csv.zst"), ("c.csv.zst", "d.jsonl.gz")):
        assert main(["convert", str(tmp_path / name), str(tmp_path / other)]) == 0
    assert trace_digest(requests(tmp_path / "d.jsonl.gz")) == trace_digest(requests(trace))
    names = ["session", "turn", "tokens", "request"]
    again = requests(tmp_path / "d.jsonl.gz")[names].astype("string")
    assert again.equals(requests(first)[names].astype("string"))


def test_recordings_that_follow_one_another_become_one_and_what_is_lost_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    album, page = (str(data_path("sessions", "traces", f"{name}.jsonl")) for name in ("album", "page"))
    out = tmp_path / "both.oracleGeneral"
    assert main(["convert", album, page, str(out)]) == 0
    said = capsys.readouterr().out
    assert "30 of 35 lines, as oracle-general" in said
    assert "it holds no session, turn, tokens, seconds, outcome" in said
    assert requests(out)["image"].tolist() == requests([album, page])["image"].tolist()
    (tmp_path / "zero.csv").write_text("key,size\na,0\na,0\n")
    assert main(["convert", str(tmp_path / "zero.csv"), str(tmp_path / "zero.jsonl")]) == 0
    assert "it holds no value of 0 bytes" in capsys.readouterr().out


def test_bad_lines_are_skipped_where_that_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.csv").write_text("key,size\na,1\nb,-1\na,1\n")
    words = ["convert", str(tmp_path / "in.csv"), str(tmp_path / "out.csv")]
    assert main(words) == 2
    assert "'size' is a whole number from 0 to 2**50, not '-1'\n" in capsys.readouterr().err
    assert main([*words, "--skip-bad-lines"]) == 0
    said = capsys.readouterr()
    assert f"{tmp_path / 'in.csv'}:3: 'size'" in said.err
    assert "1 bad line left out" in said.err
    assert load_trace(tmp_path / "out.csv")["key"].tolist() == ["a", "a"]


def test_a_format_that_is_named_is_believed(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("time,key,size\n0,5,10\n1,5,10\n")
    assert (
        main(["convert", "--from", "libcachesim-csv", str(tmp_path / "in"), str(tmp_path / "out.csv")]) == 0
    )
    assert len(load_trace(tmp_path / "out.csv")) == 2


def test_help_names_every_format(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["convert", "--help"])
    said = "".join(capsys.readouterr().out.split())
    assert all(name in said for name in FORMATS)
