"""`visioncache inspect`: a result file of `bench`, as a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from visioncache.cli.bench import show

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `visioncache inspect` takes."""
    parser.add_argument("result", type=Path, help="a file that `visioncache bench` wrote")


def run(options: argparse.Namespace) -> int:
    """Print a result file."""
    from visioncache.study.benchmark.result import load_result

    show(load_result(options.result))
    return 0
