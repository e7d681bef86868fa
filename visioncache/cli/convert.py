"""`visioncache convert`: a trace in another format, ours or other people's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from visioncache.sizes import count
from visioncache.study.trace.files import MissingFormatError
from visioncache.study.trace.formats import FORMATS
from visioncache.study.trace.told import check_writable, read_told
from visioncache.study.trace.writing import WRITERS, convert, format_to_write, left_out

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `visioncache convert` takes."""
    parser.add_argument(
        "trace",
        nargs="+",
        metavar="IN",
        help="files that follow one another, packed by gzip or zstd or not at all",
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="the file to write; .gz and .zst pack it")
    parser.add_argument(
        "--to",
        metavar="FORMAT",
        help=f"{', '.join(WRITERS)}; default: as OUT ends (.jsonl, .csv, .parquet, .oracleGeneral)",
    )
    parser.add_argument(
        "--from",
        dest="of",
        choices=FORMATS,
        metavar="FORMAT",
        help=f"{', '.join(FORMATS)}; default: as a file begins",
    )
    parser.add_argument(
        "--skip-bad-lines", action="store_true", help="tell the lines that can't be read, and go on"
    )


def run(options: argparse.Namespace) -> int:
    """Write the trace; where it can't be read, or the format can't hold it, no file is written."""
    form = format_to_write(options.out, options.to)
    check_writable(options.out, options.trace)
    trace = read_told(options.trace, options.of, strict=not options.skip_bad_lines)
    try:
        written = convert(trace, options.out, form)
    except MissingFormatError as error:
        raise ValueError(str(error)) from None
    lost = left_out(trace, form)
    print(
        f"{options.out}: {written:,} of {count(len(trace), 'line')}, as {form}"
        + (f"; it holds no {', '.join(lost)}" if lost else "")
    )
    return 0
