"""Other people's traces: recognised, read to known hit ratios, written so that their own tools read them."""

from __future__ import annotations

import argparse
import gzip
import sys
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from formats_for_tests import AZURE, BAILIAN, CSV, MADE, MOONCAKE, SERVEGEN, lines
from traces_for_tests import needs_libcachesim

from visioncache.study import (
    convert,
    load_trace,
    miss_ratio_curve,
    read_trace,
    replay,
    save_trace,
    ttft,
    workload,
)
from visioncache.study.sim.command import add_arguments, run_simulate
from visioncache.study.trace.errors import TraceError
from visioncache.study.trace.files import MissingFormatError
from visioncache.study.trace.formats import FORMATS, format_of
from visioncache.study.trace.images import ImageModel
from visioncache.study.trace.lookups import requests

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(params=MADE)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path, int, float]:
    content, lookups, ratio = MADE[request.param]
    path = tmp_path / "trace"
    path.write_bytes(content)
    return request.param, path, lookups, ratio


def test_every_format_is_recognised_and_simulates_to_the_hit_ratio_that_is_known(
    made: tuple[str, Path, int, float],
) -> None:
    name, path, lookups, ratio = made
    assert format_of(path) == name
    assert len(requests(path)) == lookups
    (row,) = replay(path, "visioncache", 1000, "entries", references=False).to_dict("records")
    assert row["hit_ratio"] == pytest.approx(ratio)


@pytest.mark.parametrize("packed", ["gz", "zst"])
def test_every_format_is_read_from_gzip_and_zstd(made: tuple[str, Path, int, float], packed: str) -> None:
    name, path, _, _ = made
    content = path.read_bytes()
    other = path.with_name(f"other.{packed}")
    other.write_bytes(
        gzip.compress(content) if packed == "gz" else pa.compress(content, codec="zstd", asbytes=True)
    )
    assert format_of(other) == name
    pd.testing.assert_frame_equal(load_trace(other), load_trace(path))


def test_parquet_is_read_as_csv_is(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(CSV)
    pd.read_csv(tmp_path / "t.csv").to_parquet(tmp_path / "t.parquet")
    assert format_of(tmp_path / "t.parquet") == "parquet"
    one, other = (requests(tmp_path / name) for name in ("t.csv", "t.parquet"))
    for column in ("time", "session", "key", "nbytes", "seconds"):
        assert one[column].tolist() == other[column].tolist()
    assert one["session"].tolist() == ["ann", "ann", "bob"]
    table = replay(tmp_path / "t.parquet", "lru", 1000, references=False)
    assert table["seconds_saved"].tolist() == [0.25]


def test_blocks_have_the_tokens_bytes_and_times_of_their_format(tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_bytes(MOONCAKE)
    trace = load_trace(path)
    assert trace["tokens"].tolist() == [512, 512, 76, 512, 512, 6]
    assert trace["time"].tolist() == [27.482] * 3 + [30.535] * 3
    assert trace["nbytes"].tolist() == [tokens * 36_864 for tokens in trace["tokens"]]
    path.write_bytes(BAILIAN)
    trace = load_trace(path, images=ImageModel(bytes_per_token=10))
    assert trace["tokens"].tolist() == [16, 16, 4, 16, 16, 16, 4]
    assert trace["nbytes"].tolist() == [160, 160, 40, 160, 160, 160, 40]
    assert trace["session"].unique().tolist() == ["chat 55"]
    assert trace["time"].tolist() == [61.114] * 3 + [70.5] * 4


def test_images_that_nobody_identified_still_have_times_and_sizes_to_simulate(tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_bytes(AZURE)
    trace = load_trace(path)
    assert trace["time"].tolist() == pytest.approx([0.0, 0.0, 3.0])
    assert trace["key"].nunique() == 3
    assert set(ttft(path, "lru", "1 GiB")["policy"]) == {"lru", "none", "infinite"}
    path.write_bytes(SERVEGEN)
    assert load_trace(path)["tokens"].tolist() == [256, 1024, 729]


BAD: dict[str, tuple[bytes, int, str]] = {
    "mooncake": (b'{"timestamp": 1, "input_length": 9, "hash_ids": "x"}\n', 3, "'hash_ids' is a list"),
    "qwen-bailian": (b'{"chat_id": -3, "timestamp": 1, "input_length": 9, "hash_ids": []}\n', 3, "'chat_id'"),
    "vllm": (b'{"request_id": "r", "arrival_time": 1, "mm_features": [{}]}\n', 5, "an image has an"),
    "azure-lmm": (b"yesterday,1,2,3\n", 5, "a row is a time"),
    "servegen": (b"3,2.5,1,1,[1,[],[]\n", 5, "a row is a time, and image_tokens"),
    "csv": (b"3,eve,dog,-200,0.5\n", 5, "'size' is a whole number from 0 to 2**50, not '-200'"),
    "libcachesim-csv": (b"4,5,10,11,12\n", 5, "expected 3 fields, saw 5"),
    "oracle-general": (b"torn", 5, "4 bytes; a record has 24"),
}


def test_a_bad_row_is_one_line_with_its_number_and_the_others_are_read(
    made: tuple[str, Path, int, float],
) -> None:
    name, path, lookups, _ = made
    extra, number, reason = BAD[name]
    path.write_bytes(path.read_bytes() + extra)
    trace, bad = read_trace(path)
    assert len(requests(trace)) == lookups
    assert [line.number for line in bad] == [number]
    assert str(bad[0]).startswith(f"{path}:{number}: ")
    assert reason in str(bad[0])
    assert "\n" not in str(bad[0])
    with pytest.raises(TraceError, match=f":{number}: "):
        load_trace(path)


def test_line_numbers_count_blank_lines_and_lines_with_too_many_cells(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("key,size\n\na,1\nb,2,3,4\nc,many\n,5\nd,6\n")
    trace, bad = read_trace(path)
    assert trace["key"].tolist() == ["a", "d"]
    assert [(line.number, line.reason) for line in bad] == [
        (4, "expected 2 fields, saw 4"),
        (5, "'size' is a whole number from 0 to 2**50, not 'many'"),
        (6, "a key is text, not nothing"),
    ]


def test_a_table_without_a_key_or_a_size_is_told_what_is_looked_for(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("who,what\na,b\n")
    with pytest.raises(TraceError, match="no column for a key .*there are: who, what"):
        load_trace(path, format="csv")
    path.write_text("1,2\n")
    with pytest.raises(TraceError, match="2 columns; time, object and size are three"):
        load_trace(path, format="libcachesim-csv")
    path.write_text("")
    with pytest.raises(TraceError, match="the file is empty"):
        load_trace(path, format="csv")
    with pytest.raises(ValueError, match="no format 'xml'; there are: visioncache, csv"):
        load_trace(path, format="xml")
    with pytest.raises(ValueError, match="no format 'vllm' to write; there are: visioncache, csv"):
        convert(path, tmp_path / "o", "vllm")


@pytest.mark.parametrize(
    ("form", "ending"),
    [*((form, ending) for form in ("visioncache", "csv") for ending in ("", ".gz", ".zst")), ("parquet", "")],
)
def test_what_is_written_in_our_columns_is_read_back_whole(form: str, ending: str, tmp_path: Path) -> None:
    trace = workload("branches", turns=40)
    path = tmp_path / f"t.{form}{ending}"
    assert convert(trace, path, form) == len(trace)
    back = load_trace(path)
    for column in ("time", "session", "key", "nbytes", "tokens", "seconds", "tower_s"):
        assert back[column].tolist() == trace[column].tolist()
    one, other = (miss_ratio_curve(found, "bytes")["miss_ratio"].tolist() for found in (trace, back))
    assert one == other


@pytest.mark.parametrize("form", ["libcachesim-csv", "oracle-general"])
@pytest.mark.parametrize("ending", ["", ".zst"])
def test_what_is_written_for_libcachesim_is_read_back_as_it_was(
    form: str, ending: str, tmp_path: Path
) -> None:
    trace = workload("catalogue", requests=300)
    path, again = tmp_path / f"t{ending}", tmp_path / f"again{ending}"
    count = convert(trace, path, form)
    assert count == len(trace)
    back = requests(path)
    asked = requests(trace)
    assert back["image"].tolist() == asked["image"].tolist()
    assert back["nbytes"].tolist() == asked["nbytes"].tolist()
    assert back["time"].tolist() == np.floor(asked["time"]).tolist()
    assert convert(path, again, form) == count  # numbers stay as they are
    assert again.read_bytes() == path.read_bytes()


@needs_libcachesim
@pytest.mark.parametrize("form", ["libcachesim-csv", "oracle-general"])
def test_libcachesim_reads_what_is_written_and_misses_as_often(form: str, tmp_path: Path) -> None:
    import libcachesim

    trace = workload("interleaved")[["time", "key", "nbytes", "seconds"]]  # it knows no requests
    path = tmp_path / "t"
    convert(trace, path, form)
    options = libcachesim.ReaderInitParam(
        has_header=True, has_header_set=True, delimiter=",", obj_id_is_num=True, obj_id_is_num_set=True
    )
    options.time_field, options.obj_id_field, options.obj_size_field = 1, 2, 3
    kind = libcachesim.TraceType
    reader = (
        libcachesim.TraceReader(str(path), kind.CSV_TRACE, options)
        if form == "libcachesim-csv"
        else libcachesim.TraceReader(str(path), kind.ORACLE_GENERAL_TRACE)
    )
    capacity = int(requests(trace).drop_duplicates("key")["nbytes"].sum()) // 3
    missed, missed_bytes = libcachesim.LRU(capacity).process_trace(reader)
    (row,) = replay(trace, "lru", capacity, references=False).to_dict("records")
    assert missed == pytest.approx(1 - row["hit_ratio"])
    assert missed_bytes == pytest.approx(1 - row["byte_hit_ratio"])


@needs_libcachesim
def test_the_next_look_up_is_numbered_as_libcachesims_own_converter_does(tmp_path: Path) -> None:
    import libcachesim

    table, own, theirs = (tmp_path / name for name in ("t.csv", "own", "theirs"))
    convert(workload("catalogue", requests=200), table, "libcachesim-csv")
    convert(table, own, "oracle-general")
    options = libcachesim.ReaderInitParam(
        has_header=True, has_header_set=True, delimiter=",", obj_id_is_num=True, obj_id_is_num_set=True
    )
    options.time_field, options.obj_id_field, options.obj_size_field = 1, 2, 3
    reader = libcachesim.TraceReader(str(table), libcachesim.TraceType.CSV_TRACE, options)
    libcachesim.Util.convert_to_oracleGeneral(reader._reader, str(theirs))
    assert own.read_bytes() == theirs.read_bytes()


def test_libcachesims_formats_refuse_what_they_cannot_hold(tmp_path: Path) -> None:
    frame = pd.DataFrame({"key": ["a", "b"], "nbytes": [2**32, 1], "time": [0.0, 1.0]})
    with pytest.raises(TraceError, match="less than 2\\*\\*32"):
        convert(frame, tmp_path / "o", "oracle-general")
    frame = frame.assign(nbytes=1, time=[0.0, 2.0**33])
    with pytest.raises(TraceError, match="span more than 2\\*\\*32 seconds"):
        convert(frame, tmp_path / "o", "oracle-general")
    assert not (tmp_path / "o").exists()


def test_without_pyarrow_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.zst"
    convert(workload("loop"), path, "visioncache")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingFormatError, match=r"pip install visioncache\[traces\]"):
        load_trace(path)


def _simulate(*words: str) -> int:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run_simulate(parser.parse_args([*words, "-q", "--policies", "lru", "--by", "entries"]))


def test_the_command_simulates_every_format(
    made: tuple[str, Path, int, float], capsys: pytest.CaptureFixture[str]
) -> None:
    name, path, lookups, ratio = made
    for words in ([], ["--format", name]):
        assert _simulate(str(path), "--capacities", "1000", *words) == 0
        said = capsys.readouterr().out
        assert f"{lookups} look-ups" in said
        assert f"{ratio:.3f}" in said


def test_the_command_tells_a_bad_row_of_any_format_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(CSV + b"3,eve,dog,-200,0.5\n")
    assert _simulate(str(path)) == 0
    assert (
        f"{path}:5: 'size' is a whole number from 0 to 2**50, not '-200'\n1 bad line left out"
        in capsys.readouterr().err
    )


def test_a_sample_is_drawn_from_any_format(tmp_path: Path) -> None:
    trace = workload("catalogue", requests=2000)
    convert(trace, tmp_path / "t.oracleGeneral", "oracle-general")
    curve = miss_ratio_curve(tmp_path / "t.oracleGeneral", sample=0.3)
    assert len(curve) > 50


def test_every_format_says_what_it_is() -> None:
    assert set(MADE) | {"visioncache", "parquet"} == set(FORMATS)
    assert all(found.about for found in FORMATS.values())


def test_a_first_line_of_any_length_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "t"
    shown = [{"identifier": "a" * 64, "mm_position": {"offset": 0, "length": 64}}]
    tokens = list(range(50_000))
    line = {"request_id": "r", "arrival_time": 1.0, "prompt_token_ids": tokens, "mm_features": shown}
    path.write_bytes(lines(line) * 2)
    assert format_of(path) == "vllm"
    assert len(load_trace(path)) == 2


def test_files_of_unlike_formats_follow_one_another(tmp_path: Path) -> None:
    save_trace(workload("loop", rounds=1), tmp_path / "a")
    (tmp_path / "b").write_bytes(CSV)
    assert len(requests([tmp_path / "a", tmp_path / "b"])) == 21 + 3
