"""`visioncache bench`: sessions under every arm, several trials, a result file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visioncache.cli.options import add_model_options

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from visioncache.study.benchmark.result import BenchResult

ARMS = "none,mlx-vlm,visioncache,bound"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `visioncache bench` takes."""
    parser.add_argument("sessions", nargs="*", default=["album", "page"], help="names or files")
    parser.add_argument("--arms", default=ARMS, help=f"comma-separated (default {ARMS})")
    parser.add_argument("--trials", type=int, default=3, help="runs of each session and arm (default 3)")
    parser.add_argument("--out", type=Path, default=Path("out/bench.json"), help="the result file")
    parser.add_argument(
        "--warm-up", type=int, default=2, metavar="TURNS", help="turns run before, unmeasured (default 2)"
    )
    parser.add_argument("--prompt-cache", action="store_true", help="keep earlier turns' keys and values too")
    add_model_options(parser)


def run(options: argparse.Namespace) -> int:
    """Time sessions under every arm and write a result file; status 1 where their tokens differ."""
    result = measure(options, options.sessions, options.arms.split(","), options.trials, options.out)
    show(result)
    print(f"\nwrote {options.out}")
    return 0 if result.tokens_equal else 1


def measure(
    options: argparse.Namespace, names: Sequence[str], arms: Sequence[str], trials: int, out: Path
) -> BenchResult:
    """Run sessions under arms, and save what is measured as it comes."""
    # Sessions and arms first: a slip there should not cost the loading of a model.
    from visioncache.study.benchmark.sessions import load_session

    sessions = [load_session(name) for name in names]
    from tqdm import tqdm

    from visioncache.study.benchmark.demo import load_model
    from visioncache.study.benchmark.run import bench, check_request

    check_request(arms, trials, options.max_tokens)
    _check_writable(out)

    def keep(result: BenchResult) -> None:
        try:
            result.save(out)
        except OSError as error:  # what was measured is worth more than its file
            tqdm.write(f"visioncache: {out} was not written: {error.strerror}", file=sys.stderr)

    model, processor = load_model(options.model)
    return bench(
        model,
        processor,
        sessions,
        arms=arms,
        trials=trials,
        max_tokens=options.max_tokens,
        warm_up=getattr(options, "warm_up", 2),
        prompt_cache=getattr(options, "prompt_cache", False),
        name=options.model or "demo-vlm",
        keep=keep,
    )


def show(result: BenchResult) -> None:
    """Print a result: machine, table, what its arms are, whether every arm gave the same tokens."""
    from visioncache.study.benchmark.arms import MEANINGS

    told = ("chip", "backend", "system", "mlx", "mlx_vlm", "visioncache")
    machine = {**dict.fromkeys(told, "unknown"), **result.machine}
    print(
        f"\n{result.model} on {machine['chip']} ({machine['backend']}{_blas(machine)}), {machine['system']}"
    )
    print(f"mlx {machine['mlx']}, mlx-vlm {machine['mlx_vlm']}, visioncache {machine['visioncache']}\n")
    print(f"{result.table()}\n")
    for arm in result.turns["arm"].unique():
        print(f"{arm}: {MEANINGS[arm]}")
    agree = "the same tokens in every arm" if result.tokens_equal else "TOKENS DIFFER BETWEEN ARMS"
    print(f"\n{agree}")


def _check_writable(path: Path) -> None:
    """OSError now, rather than when everything is measured, for a file that can't be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    path.open("ab").close()
    if new:
        path.unlink()


def _blas(machine: dict[str, Any]) -> str:
    return f", {machine['blas']}" if machine.get("blas") else ""
