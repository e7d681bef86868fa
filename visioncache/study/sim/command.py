"""`visioncache simulate`: a recorded trace under policies and capacities, as table, CSV and plot."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from visioncache.plots.curves import picture_format, plot_replay, save_plot
from visioncache.sizes import count, format_size
from visioncache.study.sim.borrowed import MissingExtraError
from visioncache.study.sim.capacities import working_set_shares
from visioncache.study.sim.latency import ttft
from visioncache.study.sim.mrc import arrays_of
from visioncache.study.sim.policies import POLICIES
from visioncache.study.sim.profile import Profile, profile_of
from visioncache.study.sim.simulate import REFERENCES, policy_names, replay
from visioncache.study.sim.sizing import enough
from visioncache.study.trace.errors import TraceError
from visioncache.study.trace.files import MissingFormatError
from visioncache.study.trace.formats import FORMATS
from visioncache.study.trace.lookups import requests
from visioncache.study.trace.provenance import comment
from visioncache.study.trace.told import check_writable, read_told

if TYPE_CHECKING:
    import argparse

    from visioncache.study.sim.mrc import By

VALUES = {
    "hits": ("hit_ratio", "byte_hit_ratio", "seconds_saved"),
    "ttft": ("ttft_p90", "ttft_p50", "ttft_p99", "ttft_mean", "waited"),
}
"""Columns of each objective's table that can be shown, the default first."""

WORTH_WORKERS = 100_000
"""Look-ups from which several processes are worth their start."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `visioncache simulate` takes."""
    parser.add_argument(
        "trace", nargs="+", help="files that follow one another, packed by gzip or zstd or not at all"
    )
    parser.add_argument(
        "--format", choices=FORMATS, metavar="NAME", help=f"{', '.join(FORMATS)}; default: as a file begins"
    )
    parser.add_argument(
        "--policies",
        metavar="A,B",
        help=f"of: {', '.join(POLICIES)}; options as in lrfu:decay=0.9; default: the usual ones",
    )
    parser.add_argument(
        "--capacities",
        metavar="A,B",
        help='"1.5GiB", or "20%%" of the working set; default: from the largest image to the working set',
    )
    parser.add_argument("--by", choices=["bytes", "entries"], default="bytes", help="what capacities count")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table")
    parser.add_argument("--png", type=Path, metavar="FILE", help="write a plot (.png, .svg or .pdf)")
    parser.add_argument(
        "--objective",
        choices=[*VALUES],
        default="hits",
        help="hit ratios, or seconds until the first token with queues before the devices",
    )
    parser.add_argument(
        "--profile",
        metavar="NAME",
        help="for ttft: a measured model, or a chip for which the roofline predicts Qwen2.5-VL-3B; images "
        "cost what it says. Default: qwen2.5-vl-3b, and what the trace says of images",
    )
    parser.add_argument("--devices", type=int, metavar="N", help="for ttft: that serve the queue (default 1)")
    parser.add_argument(
        "--value",
        choices=[value for values in VALUES.values() for value in values],
        help="what the plot and the table's columns show; default: hit_ratio, or ttft_p90",
    )
    parser.add_argument(
        "--ratios",
        action="store_true",
        help="ratios alone: libCacheSim's policies run in C, which tells no seconds saved",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=os.cpu_count() or 1,
        help="processes (default: one a core)",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar")


def run_simulate(args: argparse.Namespace) -> int:
    """Simulate; the exit status is 0, or 2 with one line on stderr when it can't be done."""
    try:
        value = _value(args)
        _check_options(args)
        profile_of(args.profile) if args.profile else None
        policy_names(args.policies)  # every slip is told before the work
        _check_outputs(args)
        asked = requests(read_told(args.trace, args.format))
        arrays_of(asked, args.by)  # says what is missing where there is nothing to simulate
        capacities = _capacities(args, asked)
        workers = args.workers if len(asked) >= WORTH_WORKERS else 1
        table = _table(args, asked, capacities, workers)
    except (TraceError, MissingExtraError, MissingFormatError, ValueError) as error:
        return _failed(str(error))
    except OSError as error:
        return _failed(f"{error.filename}: {error.strerror}")
    _tell(asked, args.objective)
    sys.stdout.write(f"{value}\n{_wide(table, value, args.by)}\n")
    noted = table.loc[table["note"].ne(""), ["policy", "note"]].drop_duplicates("policy")
    for name, note in noted.to_numpy():
        sys.stdout.write(f"* {name}: {note}\n")
    for name in dict.fromkeys(table["policy"]):
        if name in REFERENCES:
            sys.stdout.write(f"{name}: {REFERENCES[name]}\n")
    sys.stdout.flush()
    try:
        if args.csv is not None:
            args.csv.write_text(f"# {comment(table.attrs)}\n{table.to_csv(index=False)}", encoding="utf-8")
        if args.png is not None:
            save_plot(plot_replay(table, value, by=args.by), args.png, comment(table.attrs))
    except OSError as error:
        return _failed(f"{error.filename}: {error.strerror}")
    replayed = asked if args.objective == "hits" else asked.sort_values("time", kind="stable")
    sys.stdout.write(f"\n{enough(replayed, args.by)}\n")
    return 0


def _value(args: argparse.Namespace) -> str:
    """Give the column to show; ValueError for one that the objective does not have."""
    has = VALUES[args.objective]
    if args.value not in {None, *has}:
        raise ValueError(f"--objective {args.objective} has no {args.value}; it has: {', '.join(has)}")
    return args.value or has[0]


def _check_options(args: argparse.Namespace) -> None:
    """Raise for an option that can't be, or that the others leave without effect."""
    for name in ("workers", "devices"):
        number = getattr(args, name)
        if number is not None and number < 1:
            raise ValueError(f"--{name} {number}: at least 1")
    if args.objective == "hits":
        for name in ("profile", "devices"):
            if getattr(args, name) is not None:
                raise ValueError(f"--{name} is for --objective ttft")
    elif args.ratios:
        raise ValueError("--ratios is for --objective hits: which look-ups hit decides the seconds")
    if args.ratios and args.value == "seconds_saved":
        raise ValueError("--ratios tells no seconds_saved; leave one of them out")


def _table(
    args: argparse.Namespace, asked: pd.DataFrame, capacities: list[int | str] | None, workers: int
) -> pd.DataFrame:
    """Simulate what the objective asks for."""
    if args.value == "seconds_saved" and not asked["seconds"].any():
        raise TraceError("no look-up tells what a miss costs in seconds, so none are saved")
    if args.objective == "hits":
        return replay(
            asked,
            args.policies,
            capacities,
            args.by,
            ratios=args.ratios,
            progress=not args.quiet,
            workers=workers,
        )
    profile = profile_of(args.profile) if args.profile else Profile()
    if args.profile:
        if asked["tokens"].isna().any():
            raise TraceError("--profile needs the tokens of every image; some look-ups tell none")
        costs = profile.image.seconds(asked["tokens"].to_numpy(np.int64))
        asked = asked.assign(seconds=costs)
    table = ttft(asked, args.policies, capacities, args.by, profile=profile, devices=args.devices or 1)
    return table.assign(note="")


def _check_outputs(args: argparse.Namespace) -> None:
    """Raise for a file that could not be written in the end."""
    if args.png is not None:
        picture_format(args.png)
    if args.png is not None and args.csv is not None and args.png.resolve() == args.csv.resolve():
        raise ValueError(f"{args.png}: --csv and --png name one file")
    for path in filter(None, (args.csv, args.png)):
        check_writable(path, args.trace)


def _tell(asked: pd.DataFrame, objective: str) -> None:
    unsized, backwards = asked.attrs["unsized"], asked.attrs["backwards"]
    left_out = f"; {unsized} left out, their bytes are not told" if unsized else ""
    working_set = format_size(int(asked.drop_duplicates("key")["nbytes"].sum()))
    images = count(asked["key"].nunique(), "image")
    sys.stdout.write(f"{count(len(asked), 'look-up')} of {images}, {working_set}{left_out}\n")
    if backwards:
        said = "they are put in order of time" if objective == "ttft" else "the order of lines counts"
        sys.stdout.write(f"{backwards:,} earlier in time than the one before; {said}\n")
    if empty := int(asked["nbytes"].eq(0).sum()):
        sys.stdout.write(f"{empty:,} of values with 0 bytes, which take no room\n")
    sys.stdout.write("\n")


def _capacities(args: argparse.Namespace, asked: pd.DataFrame) -> list[int | str] | None:
    """List the capacities that were asked for, shares of the working set worked out."""
    if args.capacities is None:
        return None
    found: list[int | str] = []
    for text in args.capacities.split(","):
        share = text.strip().removesuffix("%")
        if share != text.strip():
            found.extend(working_set_shares(asked, args.by, [_number(share, text) / 100]))
        else:
            found.append(text.strip())
    return found


def _number(text: str, whole: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"capacity {whole!r}: a share is a number and %, like 20%") from None


def _wide(table: pd.DataFrame, value: str, by: By) -> str:
    wide = table.pivot_table(index="policy", columns="capacity", values=value, sort=False, dropna=False)
    names = [format_size(int(c)) if by == "bytes" else str(c) for c in wide.columns]
    wide = wide.set_axis(names, axis="columns")
    noted = set(table.loc[table["note"].ne(""), "policy"])
    wide.index = pd.Index([f"{name} *" if name in noted else name for name in wide.index], name="policy")
    return wide.to_string(float_format=lambda x: f"{x:.3f}", na_rep="-")


def _failed(reason: str) -> int:
    sys.stderr.write(f"visioncache simulate: {reason}\n")
    return 2
