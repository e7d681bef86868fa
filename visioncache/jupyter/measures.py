"""Measures: the subcommands of `%vcache` that measure, verify, draw, write and advise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from IPython.core.magic_arguments import argument

from visioncache.jupyter.command import command
from visioncache.jupyter.session import UsageError

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd
    from matplotlib.axes import Axes

    from visioncache.cache import VisionFeatureCache
    from visioncache.jupyter.session import Session
    from visioncache.study.benchmark.result import BenchResult
    from visioncache.study.sim.bounds import Advice
    from visioncache.vlm.verify import Verification

PLOTS = ("memory", "hits", "latency", "reuse", "bytes")


@command()
def runs(session: Session, _args: Namespace) -> pd.DataFrame:
    """The cells that were run with `%%vcache --as NAME`, as a DataFrame."""
    from visioncache.jupyter.runs import runs_frame

    return runs_frame(session.runs)


@command(argument("path", metavar="PATH", help="the HTML file to write"))
def report(session: Session, args: Namespace) -> Path:
    """Write one page that opens offline: summary, entries, events, curves, advice, machine."""
    from visioncache.jupyter.report import write_report

    return write_report(session.cache(), args.path, runs=session.runs)


@command(
    argument("kind", metavar="KIND", choices=PLOTS, help=", ".join(PLOTS)),
    argument(
        "results", metavar="RESULTS", nargs="*", help="for latency: what bench returned, or names of runs"
    ),
    variables=["results"],
)
def plot(session: Session, args: Namespace) -> Axes:
    """Draw memory, hits, reuse or bytes of the cache, or the latency that bench measured."""
    from visioncache import plots

    if args.kind != "latency":
        drawers: dict[str, Callable[[VisionFeatureCache], Axes]] = {
            "memory": plots.memory,
            "hits": plots.hit_rate,
            "reuse": plots.reuse_distance,
            "bytes": plots.entry_bytes,
        }
        return drawers[args.kind](session.cache())
    named = [name for name in args.results if name in session.runs]
    if named:
        if len(named) < len(args.results):
            missing = next(name for name in args.results if name not in session.runs)
            raise UsageError(f"no run is called {missing!r}; there are: {', '.join(session.runs)}")
        return plots.runs({name: [turn.ttft for turn in session.runs[name].turns] for name in named})
    results = session.variable(args.results[0]) if args.results else session.result
    if results is None:
        raise UsageError("no latency was measured yet; `%vcache bench SESSION` does, or name a result")
    return plots.ttft(results)


@command(
    argument("session", metavar="SESSION", help="the name of a shipped session, or the path of one"),
    argument("model", metavar="MODEL", nargs="?", help="a variable; by default what was attached"),
    argument("processor", metavar="PROCESSOR", nargs="?", help="a variable"),
    argument("--trials", metavar="N", type=int, default=1, help="how often each arm is run"),
    variables=["model", "processor"],
)
def bench(session: Session, args: Namespace) -> BenchResult:
    """Run a session without a cache, with mlx-vlm's, with this one, and with nothing left to save."""
    from visioncache.study.benchmark.run import bench as run_bench

    if args.model is not None:
        processor = None if args.processor is None else session.variable(args.processor)
        pair = session.variable(args.model), processor
    elif session.pair is not None:
        pair = session.pair
    else:
        raise UsageError("bench what? `%vcache bench SESSION MODEL PROCESSOR`, or attach a model first")
    session.result = run_bench(*pair, [args.session], trials=args.trials, progress=not args.quiet)
    return session.result


@command(
    argument("images", metavar="IMAGE", nargs="*", help="a file or a variable; by default shipped pictures"),
    argument("--max-tokens", metavar="N", type=int, default=16, help="the longest answer; 16"),
    argument("--model", metavar="MODEL", help="the variable that was attached, where there are several"),
    variables=["images", "model"],
)
def verify(session: Session, args: Namespace) -> Verification:
    """See that the cache changes nothing: what a model is given and answers without, on a miss, on a hit."""
    attached = session.attachment("verify", args.model)
    images = session.images(args.images)
    return attached.verify(images or None, max_tokens=args.max_tokens)


@command(argument("path", metavar="PATH", help="where to write it"))
def trace(session: Session, args: Namespace) -> int:
    """Write the events as JSON, one a line; returns how many."""
    return session.cache().events.to_jsonl(args.path)


@command(argument("--target", metavar="SHARE", type=float, default=0.9, help="the hit ratio to reach; 0.9"))
def recommend(session: Session, args: Namespace) -> Advice:
    """Which bound to raise, and to what, so that this cache's own past would have hit that often."""
    from visioncache.study.sim.bounds import advise

    cache = session.cache()
    return advise(cache.events, cache.max_size, cache.max_bytes, args.target)
