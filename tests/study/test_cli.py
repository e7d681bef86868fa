"""The command line: bad input is one line and status 2."""

from __future__ import annotations

import json
import sys
from subprocess import PIPE, Popen, run
from typing import TYPE_CHECKING

import pytest

import visioncache
from visioncache.cli import main
from visioncache.study.data import data_path
from visioncache.vlm import FAMILIES
from visioncache.vlm.families.left_out import LEFT_OUT

if TYPE_CHECKING:
    from pathlib import Path


def test_a_reader_that_leaves_early_is_no_error() -> None:
    command = [sys.executable, "-m", "visioncache", "families"]
    with Popen(command, stdout=PIPE, stderr=PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo", "--session", "nothing"], "no session 'nothing'; shipped are:"),
        (["bench", "album", "--arms", "none,fast"], "no arm 'fast'; there are:"),
        (["bench", "album", "--trials", "0"], "trials=0: at least 1"),
        (["demo", "--model", "/no/such/model"], "no model '/no/such/model' could be loaded"),
        (["inspect", "/no/such/file.json"], "/no/such/file.json"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in error
    assert error.startswith(f"visioncache {arguments[0]}: ")


def test_inspect_refuses_a_torn_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "torn.json").write_text('{"format": 1, "turns": [')
    assert main(["inspect", str(tmp_path / "torn.json")]) == 2
    assert "not JSON" in capsys.readouterr().err


def test_inspect_of_a_trace_names_the_command_for_traces(capsys: pytest.CaptureFixture[str]) -> None:
    trace = data_path("sessions", "traces", "album.jsonl")
    assert main(["inspect", str(trace)]) == 2
    assert f"visioncache simulate {trace}" in capsys.readouterr().err


def test_simulate_replays_the_recorded_sessions(capsys: pytest.CaptureFixture[str]) -> None:
    traces = sorted(map(str, data_path("sessions", "traces").glob("*.jsonl")))
    assert main(["simulate", *traces, "--policies", "visioncache,lru", "--by", "entries", "-q"]) == 0
    rows = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines() if line}
    assert rows["visioncache"] == rows["lru"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--capacities=-20%"], "-20% of the working set: a share is above 0"),
        (["--capacities=nan%"], "nan% of the working set: a share is above 0"),
        (["--capacities=0"], "each is from 1 to 2**62"),
        (["--capacities=inf"], "'inf' is not a size"),
        (["--policies=lfru"], "no policy 'lfru'; there are: visioncache"),
        (["--csv=/no/such/folder/t.csv"], "/no/such/folder/t.csv: No such file or directory"),
        (["--png=/no/such/folder/t.png"], "/no/such/folder/t.png: No such file or directory"),
    ],
)
def test_what_simulate_can_not_do_is_one_line(
    options: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = str(data_path("sessions", "traces", "album.jsonl"))
    assert main(["simulate", trace, "--policies=lru", "-q", *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith("visioncache simulate: ")
    assert error.count("\n") == 1
    assert says in error


def test_families_prints_a_record_for_each_and_for_what_is_left_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["families", "--json"]) == 0
    every = json.loads(capsys.readouterr().out)
    records = [record for record in every if record["supported"]]
    assert {record["family"] for record in records} == set(FAMILIES)
    assert len(records) == len(FAMILIES)
    assert not any(record["reason"] for record in records)
    assert {record["family"]: record["reason"] for record in every if not record["supported"]} == LEFT_OUT
    assert {record["granularity"] for record in records} == {"image", "request"}
    assert all(record["skips"] for record in records)
    assert main(["families"]) == 0
    printed = capsys.readouterr().out
    assert "| `qwen2_5_vl` | per image |" in printed
    assert "| `colqwen2_5` | for retrieval: " in printed


def test_the_module_is_the_command() -> None:
    done = run([sys.executable, "-m", "visioncache", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"visioncache {visioncache.__version__}"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"turns": []}, "its turns lack session"),
        ({"turns": [{"arm": "none"}]}, "its turns lack session"),
        ({"machine": None}, "on which machine"),
    ],
)
def test_a_result_that_lacks_something_is_told_in_one_line(
    content: dict[str, object], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped = next(iter(sorted(data_path("results").glob("sessions/*.json"))))
    path = tmp_path / "result.json"
    path.write_text(json.dumps(json.loads(shipped.read_text(encoding="utf-8")) | content), encoding="utf-8")
    assert main(["inspect", str(path)]) == 2
    assert says in capsys.readouterr().err
