"""`visioncache simulate`: a recorded trace under policies and capacities, as table, CSV and plot."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from visioncache.plots.curves import plot_replay, save_plot
from visioncache.sizes import format_size
from visioncache.study.sim.policies import POLICIES, MissingExtraError, available
from visioncache.study.sim.simulate import replay, working_set_shares
from visioncache.study.sim.sizing import recommend
from visioncache.study.trace.lookups import requests
from visioncache.study.trace.traces import TraceError, read_trace

if TYPE_CHECKING:
    import argparse

    import pandas as pd

    from visioncache.study.sim.mrc import By
    from visioncache.study.trace.traces import BadLine

SHOWN_BAD_LINES = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `visioncache simulate` takes."""
    parser.add_argument("trace", nargs="+", help="JSON lines, as `cache.events.to_jsonl` writes them")
    parser.add_argument(
        "--policies", metavar="A,B", help=f"of: {', '.join(POLICIES)}; default: all installed"
    )
    parser.add_argument(
        "--capacities", metavar="A,B", help='"1.5GiB", or "20%%" of the working set; default: 2%% to 110%%'
    )
    parser.add_argument("--by", choices=["bytes", "entries"], default="bytes", help="what capacities count")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table")
    parser.add_argument("--png", type=Path, metavar="FILE", help="write a plot")
    parser.add_argument(
        "--value",
        choices=["hit_ratio", "byte_hit_ratio", "seconds_saved"],
        default="hit_ratio",
        help="what the plot and the table's columns show",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar")


def run_simulate(args: argparse.Namespace) -> int:
    """Do it; the exit status is 0, or 2 with one line on stderr when it can't be done."""
    try:
        trace, bad = read_trace(args.trace)
        _report(bad)
        asked = requests(trace)
        policies = available() if args.policies is None else args.policies.split(",")
        table = replay(asked, policies, _capacities(args, asked), args.by, progress=not args.quiet)
    except (TraceError, MissingExtraError, ValueError) as error:
        return _failed(str(error))
    except OSError as error:
        return _failed(f"{error.filename}: {error.strerror}")
    unsized = asked.attrs["unsized"]
    left_out = f"; {unsized} left out, their bytes are not told" if unsized else ""
    working_set = format_size(int(asked.drop_duplicates("key")["nbytes"].sum()))
    sys.stdout.write(f"{len(asked)} look-ups of {asked['key'].nunique()} images, {working_set}{left_out}\n\n")
    sys.stdout.write(f"{args.value}\n{_wide(table, args.value, args.by)}\n\n{recommend(asked)}\n")
    try:
        if args.csv is not None:
            args.csv.write_text(table.to_csv(index=False), encoding="utf-8")
        if args.png is not None:
            save_plot(plot_replay(table, args.value, by=args.by), args.png)
    except OSError as error:
        return _failed(f"{error.filename}: {error.strerror}")
    return 0


def _capacities(args: argparse.Namespace, asked: pd.DataFrame) -> list[int | str] | None:
    """What was asked for, shares of the working set among it worked out."""
    if args.capacities is None:
        return None
    found: list[int | str] = []
    for text in args.capacities.split(","):
        share = text.strip().removesuffix("%")
        if share != text.strip():
            found.extend(working_set_shares(asked, args.by, [_number(share, text) / 100]))
        else:
            found.append(text.strip() if args.by == "bytes" else int(_number(share, text)))
    return found


def _number(text: str, whole: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"capacity {whole!r}: a size, a number of entries, or a share like 20%") from None


def _wide(table: pd.DataFrame, value: str, by: By) -> str:
    wide = table.pivot_table(index="policy", columns="capacity", values=value, sort=False, dropna=False)
    names = [format_size(int(c)) if by == "bytes" else str(c) for c in wide.columns]
    wide = wide.set_axis(names, axis="columns")
    return wide.to_string(float_format=lambda x: f"{x:.3f}", na_rep="-")


def _report(bad: list[BadLine]) -> None:
    for line in bad[:SHOWN_BAD_LINES]:
        sys.stderr.write(f"{line}\n")
    if bad:
        sys.stderr.write(f"{len(bad)} bad line{'s' * (len(bad) > 1)} left out\n")


def _failed(reason: str) -> int:
    sys.stderr.write(f"visioncache simulate: {reason}\n")
    return 2
