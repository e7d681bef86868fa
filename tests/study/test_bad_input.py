"""Inputs that no command can use: one clear line before the work, at every door where a trace comes in."""

from __future__ import annotations

import codecs
import gzip
import json
import sys
from subprocess import run
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from visioncache.cli import main
from visioncache.study import load_trace, miss_ratio_curve, replay, ttft, workload
from visioncache.study.sim.policies import POLICIES
from visioncache.study.trace.errors import TraceError

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "time,key,size,session,turn,seconds\n"
GOOD = HEAD + "0,a,10,s,1,0.5\n1,a,10,s,2,0.5\n2,b,20,s,3,1\n"


def _line(**changes: Any) -> str:
    good = {"v": 1, "time": 1.5, "session": "a", "turn": 0, "key": "k", "bytes": 8}
    return json.dumps(good | {"seconds": 0.1, "outcome": "hit"} | changes) + "\n"


LONG = (HEAD + "".join(f"{i},k{i % 7},{i % 7 + 1},s,{i},1\n" for i in range(9000))).encode()
GZIP = gzip.compress(LONG)
ZSTD = pa.compress(LONG, codec="zstd", asbytes=True)

NO_TRACE: dict[str, tuple[bytes | str, str]] = {
    "empty.csv": ("", "no line holds a look-up"),
    "empty.gz": (gzip.compress(b""), "no line holds a look-up"),
    "blank.csv": ("\n \n", "no line holds a look-up"),
    "head.csv": (HEAD, "no line holds a look-up"),
    "cut.csv.gz": (GZIP[: len(GZIP) // 2], "what gzip packed is damaged or cut short"),
    "cut-head.gz": (GZIP[:8], "what gzip packed is damaged or cut short"),
    "checksum.gz": (GZIP[:-8] + bytes(8), "`gzip -dc "),
    "no-gzip.gz": (b"\x1f\x8b" + b"no gzip", "what gzip packed is damaged or cut short"),
    "cut.csv.zst": (ZSTD[: len(ZSTD) // 2], "what zstd packed is damaged or cut short"),
    "no-zstd.zst": (ZSTD[:4] + b"no zstd", "what zstd packed is damaged or cut short"),
    "cut.parquet": (b"PAR1" + bytes(50), "not a parquet file"),
    "picture.png": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 9, "in no format that is known"),
    "zeros": (bytes(240), "it begins with binary"),
    "noise": (np.random.default_rng(0).bytes(2400), "in no format that is known"),
    "utf-16.csv": (codecs.BOM_UTF16_LE + GOOD.encode("utf-16-le"), "in no format that is known"),
    "prose.txt": ("Dear diary,\ntoday\n", "it begins with 'Dear diary,'"),
    "list.json": ('[{"key": "a"}]\n', "in no format that is known"),
    "two.csv": ("5,10\n6,20\n", "a table needs a head with a key and a size"),
    "same-twice.csv": ("key,size,size\na,1,2\n", "columns 'size', 'size.1' are each a nbytes: keep one"),
    "alike.csv": ("key,obj_size,size\na,1,2\n", "columns 'obj_size', 'size' are each a nbytes: keep one"),
    "quote.csv": (HEAD + '0,"a,10,s,1,1\n', "EOF inside string"),
    "below-0.csv": ("key,size\na,-10\n", "'size' is a whole number from 0 to 2**50, not '-10'; no line is left"),
    "part.csv": ("key,size\na,1.5\n", "'size' is a whole number from 0 to 2**50, not '1.5'"),
    "nan.csv": ("key,size\na,nan\nb,NaN\n", "not 'nan' (and 1 more bad line); no line is left"),
    "2^62.csv": (f"key,size\na,{2**62}\n", "'size' is a whole number from 0 to 2**50"),
    "hex.csv": ("key,size\na,0x10\n", "not '0x10'"),
    "no-key.csv": ("key,size\n,10\n", "a key is text, not nothing"),
    "inf-seconds.csv": ("key,size,seconds\na,1,inf\n", "'seconds' is a number from 0 to 2**50, not 'inf'"),
    "large-seconds.csv": ("key,size,seconds\na,1,1e308\n", "'seconds' is a number from 0 to 2**50, not '1e308'"),
    "seconds-below-0.csv": ("key,size,seconds\na,1,-1\n", "'seconds' is a number from 0 to 2**50, not '-1'"),
    "inf-time.csv": ("time,key,size\ninf,a,1\n", "'time' is a time, not 'inf'"),
    "large-time.csv": ("time,key,size\n1e300,a,1\n", "'time' is a time, not '1e300'"),
    "guess.csv": ("key,size,outcome\na,1,guess\n", "there is no 'outcome' 'guess'"),
    "tokens.csv": ("key,tokens\na,1e300\n", "'tokens' is a whole number from 0 to 2**38, not '1e300'"),
    "no-tokens.csv": ("key,tokens\na,\n", "not nothing"),
    "2^62.jsonl": (_line(bytes=2**62), "'bytes' is a whole number from 0 to 2**50"),
    "inf.jsonl": (_line(seconds=float("inf")), "'seconds' is a number from 0 to 2**50, not inf"),
    "below-0.jsonl": (_line(seconds=-1), "'seconds' is a number from 0 to 2**50, not -1"),
    "part.jsonl": (_line(bytes=1.5), "'bytes' is a whole number from 0 to 2**50, not 1.5"),
    "vllm.jsonl": (
        '{"request_id": "r", "arrival_time": 1, "mm_hashes": ["a"], "mm_placeholders": [{"length": 9000000000000000}]}',
        "tokens of 4096 bytes are more than 2**50 bytes",
    ),
}  # fmt: skip
"""Files that hold no trace, and what is said of each."""

DOORS: dict[str, list[str]] = {
    "hits": ["simulate", "IN", "-q", "--policies", "lru"],
    "times": ["simulate", "IN", "-q", "--policies", "lru", "--objective", "ttft"],
    "ratios": ["simulate", "IN", "-q", "--policies", "lru", "--ratios", "--by", "entries"],
    "convert": ["convert", "IN", "OUT.csv"],
    "skipping": ["convert", "IN", "OUT.oracleGeneral", "--skip-bad-lines"],
}


def _refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that must refuse: give its one line."""
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"visioncache {words[0]}: ")
    assert said.err.count("\n") == 1
    return said.err


def _at(door: str, file: object, folder: Path) -> list[str]:
    return [{"IN": str(file)}.get(word, word.replace("OUT", f"{folder}/out")) for word in DOORS[door]]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", NO_TRACE)
@pytest.mark.filterwarnings("error")
def test_a_file_that_holds_no_trace_is_one_line_that_names_it(
    name: str, door: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, said = NO_TRACE[name]
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    line = _refused(_at(door, path, tmp_path), capsys)
    assert str(path) in line
    assert said in line
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(("name", "said"), [("", "Is a directory"), ("nowhere", "No such file or directory")])
def test_a_folder_and_a_file_that_is_not_there_are_told(
    name: str, said: str, door: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"{tmp_path / name}: {said}" in _refused(_at(door, tmp_path / name, tmp_path), capsys)


SIMULATE: list[tuple[list[str], str]] = [
    (["--policies", "lru,,fifo"], "no policy ''; there are: visioncache"),
    (["--policies", "LRU"], "no policy 'LRU'"),
    (["--policies", "lru,lrfu:size=3"], "'size=3' is no option of lrfu, which has: decay"),
    (["--policies", "lru,lrfu:decay=x"], "decay=x is not above 0 and at most 1"),
    (["--policies", "lrfu:decay=nan"], "decay=nan is not above 0"),
    (["--policies", "lrfu:decay=0.9:decay=0.5"], "decay is given twice"),
    (["--policies", "s3-fifo:small_size_ratio=7"], "small_size_ratio=7 is not a number above 0 and at most 0.9"),
    (["--policies", "s3-fifo:small_size_ratio=big"], "small_size_ratio=big is not a number"),
    (["--policies", "s3-fifo:move_to_main_threshold=0.5"], "is not a whole number from 0"),
    (["--policies", "w-tinylfu:main_cache=best"], "main_cache=best is not LRU or SLRU or ARC"),
    (["--policies", "lrb:objective=all"], "objective=all is not byte-miss-ratio or object-miss-ratio"),
    (["--capacities", ""], "'' is not a size"),
    (["--capacities", "1GiB,"], "'' is not a size"),
    (["--capacities", "9223372036854775807"], "each is from 1 to 2**62"),
    (["--capacities", "-5"], "'-5' is not a size"),
    (["--capacities", "0"], "each is from 1 to 2**62"),
    (["--capacities", "nan%"], "a share is above 0"),
    (["--by", "entries", "--capacities", "1.5"], "capacity '1.5': a whole number of entries"),
    (["--by", "entries", "--capacities", "inf"], "capacity 'inf': a whole number of entries"),
    (["--by", "entries", "--capacities", "nan"], "capacity 'nan': a whole number of entries"),
    (["--by", "entries", "--capacities", str(2**70)], "each is from 1 to 2**62"),
    (["--workers", "0"], "--workers 0: at least 1"),
    (["--objective", "ttft", "--devices", "-1"], "--devices -1: at least 1"),
    (["--devices", "2"], "--devices is for --objective ttft"),
    (["--profile", "gemma-3-4b"], "--profile is for --objective ttft"),
    (["--objective", "ttft", "--ratios"], "--ratios is for --objective hits"),
    (["--ratios", "--value", "seconds_saved"], "--ratios tells no seconds_saved"),
    (["--csv", "FOLDER"], "Is a directory"),
    (["--csv", "FOLDER/no/table.csv"], "No such file or directory"),
    (["--png", "FOLDER/no/plot.png"], "No such file or directory"),
    (["--png", "FOLDER/plot.jpeg"], "a picture's name ends in .png, .svg, .pdf"),
    (["--csv", "IN"], "this file is read; name another to write"),
    (["--csv", "FOLDER/one.svg", "--png", "FOLDER/one.svg"], "--csv and --png name one file"),
    (["--format", "parquet"], "not a parquet file"),
    (["--format", "oracle-general"], "not oracleGeneral"),
    (["--format", "azure-lmm"], "no column 'NumImages'; there are: time, key"),
    (["--format", "mooncake"], "no line is left"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "said"), SIMULATE)
@pytest.mark.filterwarnings("error")
def test_what_simulate_cannot_do_is_told_before_anything_is_simulated(
    words: list[str],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(GOOD)
    worked: list[object] = []
    monkeypatch.setattr("visioncache.study.sim.simulate._row", lambda *task: worked.append(task))
    words = [word.replace("FOLDER", str(tmp_path)).replace("IN", str(path)) for word in words]
    given = [] if "--policies" in words else ["--policies", "lru"]
    assert said in _refused(["simulate", str(path), "-q", *given, *words], capsys)
    assert not worked
    assert path.read_text() == GOOD
    assert [file.name for file in tmp_path.iterdir()] == ["t.csv"]


CONVERT: list[tuple[list[str], str]] = [
    (["IN", "IN", "--to", "csv"], "this file is read; name another to write"),
    (["IN", "FOLDER/out"], "which format? Its name ends in none of .jsonl, .csv, .parquet, .oracleGeneral"),
    (["IN", "FOLDER/out.xml"], "which format?"),
    (["IN", "FOLDER/out", "--to", "vllm"], "no format 'vllm' to write; there are: visioncache, csv"),
    (["IN", "FOLDER/out.parquet.gz"], "parquet packs its columns itself"),
    (["IN", "FOLDER/no/out.csv"], "No such file or directory"),
    (["IN", "FOLDER", "--to", "csv"], "Is a directory"),
    (["BAD", "FOLDER/out.csv"], "'size' is a whole number from 0 to 2**50, not '-7'"),
    (["LARGE", "FOLDER/out.oracleGeneral"], "libCacheSim's formats hold less than 2**32"),
    (["LARGE", "FOLDER/out", "--to", "libcachesim-csv"], "libCacheSim's formats hold less than 2**32"),
]


@pytest.mark.parametrize(("words", "said"), CONVERT)
def test_what_convert_cannot_do_is_told_and_nothing_is_written(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = {"IN": GOOD, "BAD": GOOD + "9,c,-7,s,4,1\n", "LARGE": f"key,size\na,{2**32}\n"}
    for name, text in made.items():
        (tmp_path / name).write_text(text)
    words = [
        str(tmp_path / word) if word in made else word.replace("FOLDER", str(tmp_path)) for word in words
    ]
    assert said in _refused(["convert", *words], capsys)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == made


def test_a_table_that_fails_late_does_not_cost_the_file_that_was_there(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("kept")
    (tmp_path / "large.csv").write_text(f"key,size\na,{2**32}\n")
    assert main(["convert", str(tmp_path / "large.csv"), str(out), "--to", "oracle-general"]) == 2
    assert out.read_text() == "kept"


FINE: dict[str, tuple[str, str, str]] = {
    "one look-up": ("key,size\na,10\n", "1 look-up of 1 image, 10 B", "no cache would have hit"),
    "no time order": ("time,key,size\n5,a,10\n1,a,10\n", "1 earlier in time than the one before", "50%"),
    "0 bytes": ("key,size\na,0\na,0\nb,9\n", "2 of values with 0 bytes, which take no room", "33%"),
    "a mark of UTF-8": ("\ufeffkey,size\na,10\na,10\n", "2 look-ups of 1 image", "50%"),
    "a number as 1e3": ("key,size\na,1e3\na,1e3\n", "2 look-ups of 1 image, 1000 B", "50%"),
    "lines of Windows": ("key,size\r\na,10\r\na,10\r\n", "2 look-ups of 1 image", "50%"),
    "blanks": ("key, size\na, 10\na, 10\n", "2 look-ups of 1 image, 10 B", "50%"),
    "its own name first": ("key,nbytes,size\na,10,5\na,10,5\n", "2 look-ups of 1 image, 10 B", "50%"),
    "a torn first line": ("rn line\n" + _line() + _line(), "2 look-ups of 1 image, 8 B", "50%"),
}


@pytest.mark.parametrize("name", FINE)
@pytest.mark.filterwarnings("error")
def test_what_is_odd_and_usable_is_used_and_told(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, told, advice = FINE[name]
    path = tmp_path / "t"
    path.write_text(text, encoding="utf-8", newline="")
    assert main(["simulate", str(path), "-q", "--policies", "lru, fifo"]) == 0
    said = capsys.readouterr().out
    assert told in said
    assert advice in said.splitlines()[-1]


def test_values_without_bytes_have_no_shares_but_can_be_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "t.csv"
    path.write_text("key,size\na,0\na,0\n")
    words = ["simulate", str(path), "-q", "--policies", "lru"]
    assert "every value has 0 bytes" in _refused(words, capsys)
    assert main([*words, "--by", "entries"]) == 0
    capsys.readouterr()
    path.write_text(_line(bytes=0, outcome="miss"))
    assert "no event tells how many bytes images have; look-ups left out: 1" in _refused(words, capsys)


@pytest.mark.parametrize("capacity", [2**62, 2**63 - 1])
def test_a_first_look_hits_in_no_cache_however_large(capacity: int) -> None:
    trace = pd.DataFrame({"key": ["a", "b", "a"], "nbytes": 1})
    assert miss_ratio_curve(trace, capacities=[capacity])["miss_ratio"].tolist() == pytest.approx([2 / 3])
    asked = replay(trace, "lru", 2**62, "entries", references=False)
    assert asked["hit_ratio"].tolist() == pytest.approx([1 / 3])
    with pytest.raises(ValueError, match="from 1 to 2\\*\\*62"):
        replay(trace, "lru", 2**63 - 1, "entries")


def test_a_policy_that_is_not_installed_is_told_before_the_others_have_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "libcachesim", None)
    monkeypatch.setattr("visioncache.study.sim.simulate._row", lambda *task: pytest.fail("it ran"))
    with pytest.raises(ImportError, match="Sieve is libcachesim's"):
        replay(workload("loop"), ["lru", "sieve"])


@pytest.mark.parametrize("name", [name for name, one in POLICIES.items() if one.checks])
def test_every_option_of_a_policy_runs_at_the_ends_of_what_it_may_be(name: str) -> None:
    ends: dict[str, list[object]] = {
        "small_size_ratio": [0.01, 0.9],
        "ghost_size_ratio": [0, 100],
        "move_to_main_threshold": [0, 100],
        "window_size": [0.001, 0.9],
        "main_cache": ["LRU", "SLRU", "ARC"],
        "objective": ["byte-miss-ratio", "object-miss-ratio"],
        "decay": [0.001, 1],
    }
    texts = [f"{name}:{option}={value}" for option in POLICIES[name].checks for value in ends[option]]
    # In a process of its own: what the library can't do ends it.
    code = (
        "from visioncache.study import replay, workload\n"
        f"for by in ('entries', 'bytes'): print(replay(workload('catalogue', requests=300), {texts!r}, None, by))"
    )
    done = run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]


def test_requests_of_several_files_stay_apart(tmp_path: Path) -> None:
    lines = "".join(
        json.dumps({"timestamp": t, "input_length": 600, "hash_ids": [1, t]}) + "\n" for t in (5, 6)
    )
    azure = "TIMESTAMP,NumImages,ContextTokens,GeneratedTokens\n0.5,2,1,1\n1.5,1,1,1\n"
    for text, count in ((lines, 2), (azure, 2)):
        paths = [tmp_path / "a", tmp_path / "b"]
        for path in paths:
            path.write_text(text)
        assert load_trace(paths)["request"].nunique() == 2 * count
    assert set(ttft(tmp_path / "a", "lru", "1 GiB")["policy"]) == {"lru", "none", "infinite"}


def test_a_mooncake_trace_has_times_to_first_token(tmp_path: Path) -> None:
    (tmp_path / "m").write_text('{"timestamp": 27482, "input_length": 1100, "hash_ids": [46, 47, 2353]}\n')
    table = ttft(tmp_path / "m", "lru", "1 GiB")
    assert table["ttft_p50"].gt(0).all()


def test_a_pipe_that_could_be_read_only_once_is_refused() -> None:
    code = "from visioncache.cli import main; raise SystemExit(main(['simulate', '/dev/stdin', '-q']))"
    done = run([sys.executable, "-c", code], input=GOOD, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        "visioncache simulate: /dev/stdin: a pipe can be read only once, a trace is read twice: write it to a file\n"
    )


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (pd.DataFrame([["a", 1, 2]], columns=["key", "nbytes", "nbytes"]), "there are several of 'nbytes'"),
        (pd.DataFrame({"key": ["a", None], "nbytes": 1}), "row 1: a look-up has a key, not nothing"),
        (pd.DataFrame({"key": ["a", np.nan], "nbytes": 1}), "row 1: a look-up has a key, not nothing"),
        (pd.DataFrame({"key": ["a"], "nbytes": 1, "time": np.inf}), "row 0: 'time' is a number of at most"),
        (pd.DataFrame({"key": ["a"], "nbytes": 1, "time": "noon"}), "not 'noon'"),
        (pd.DataFrame({"nbytes": [1]}), "there is no key"),
        (pd.DataFrame(), "there is no key, nbytes"),
        (pd.DataFrame({"key": [], "nbytes": []}), "the trace has no look-ups"),
    ],
)
def test_a_frame_that_is_no_trace_is_one_line(frame: pd.DataFrame, said: str) -> None:
    with pytest.raises(TraceError) as error:
        replay(frame, "lru")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_bad_frame_is_told_too() -> None:
    for changes in ({"nbytes": [1.5]}, {"nbytes": [-1]}, {"seconds": [np.inf]}, {"seconds": [1e308]}):
        with pytest.raises(TraceError, match="row 0: .* from 0 to 2\\*\\*50"):
            replay(pd.DataFrame({"key": ["a"], "nbytes": [1]} | changes), "lru", 10)
