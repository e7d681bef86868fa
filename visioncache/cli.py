"""The command line: `visioncache demo | bench | simulate | families | inspect`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visioncache import __version__
from visioncache.sizes import count

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from visioncache.study.result import BenchResult

ARMS = "none,mlx-vlm,visioncache,bound"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; bad input is one line on stderr and status 2."""
    parser = argparse.ArgumentParser(
        prog="visioncache", description="An exact vision-feature cache for vision-language models on MLX."
    )
    parser.add_argument("--version", action="version", version=f"visioncache {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _demo(commands.add_parser("demo", help="hold a conversation under every arm and show what each took"))
    _bench(commands.add_parser("bench", help="time sessions under every arm"))
    _simulate(commands.add_parser("simulate", help="replay a trace under policies and capacities"))
    _families(commands.add_parser("families", help="which mlx-vlm families are supported, and how"))
    _inspect(commands.add_parser("inspect", help="show a result file of `bench`"))
    options = parser.parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except (ValueError, OSError) as error:
        print(f"visioncache {options.command}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"visioncache {options.command}: interrupted", file=sys.stderr)
        return 130


def _model_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        default=os.environ.get("MODEL") or None,
        help="a model that mlx_vlm.load finds (default: $MODEL, else the demo model)",
    )
    parser.add_argument("--max-tokens", type=int, default=16, help="the longest answer (default 16)")


def _demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--session", default="album", help="a session's name or file (default album)")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the result and the plot")
    _model_option(parser)
    parser.set_defaults(run=run_demo)


def _bench(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sessions", nargs="*", default=["album", "page"], help="names or files")
    parser.add_argument("--arms", default=ARMS, help=f"comma-separated (default {ARMS})")
    parser.add_argument("--trials", type=int, default=3, help="runs of each session and arm (default 3)")
    parser.add_argument("--out", type=Path, default=Path("out/bench.json"), help="the result file")
    parser.add_argument(
        "--warm-up", type=int, default=2, metavar="TURNS", help="turns run before, unmeasured (default 2)"
    )
    parser.add_argument("--prompt-cache", action="store_true", help="keep earlier turns' keys and values too")
    _model_option(parser)
    parser.set_defaults(run=run_bench)


def _simulate(parser: argparse.ArgumentParser) -> None:
    from visioncache.study.simulate_command import add_arguments, run_simulate

    add_arguments(parser)
    parser.set_defaults(run=run_simulate)


def _families(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="a list of objects")
    parser.set_defaults(run=run_families)


def _inspect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("result", type=Path, help="a file that `visioncache bench` wrote")
    parser.set_defaults(run=run_inspect)


def run_demo(options: argparse.Namespace) -> int:
    """One session under every arm: the conversation, the table, the plot."""
    result = _measure(options, [options.session], ARMS.split(","), 1, options.out / "demo.json")
    arm = result.turns[result.turns["arm"] == "visioncache"]
    columns = (arm[name].tolist() for name in ("turn", "images", "answer", "correct"))
    for number, images, answer, correct in zip(*columns, strict=True):
        right = {1.0: "right", 0.0: "wrong"}.get(correct, "")
        print(f"  turn {number}, {count(images, 'image')}: {answer!r} {right}")
    _show(result)
    from visioncache import plots

    picture = options.out / "demo.png"
    figure: Any = plots.ttft(result).figure
    figure.savefig(picture, dpi=144, bbox_inches="tight", facecolor="white")
    print(f"\nwrote {picture} and {options.out / 'demo.json'}")
    return 0 if result.tokens_equal else 1


def run_bench(options: argparse.Namespace) -> int:
    """Several sessions, several trials, a result file."""
    result = _measure(options, options.sessions, options.arms.split(","), options.trials, options.out)
    _show(result)
    print(f"\nwrote {options.out}")
    return 0 if result.tokens_equal else 1


def run_inspect(options: argparse.Namespace) -> int:
    """What a result file says."""
    from visioncache.study.result import load_result

    _show(load_result(options.result))
    return 0


def run_families(options: argparse.Namespace) -> int:
    """The table of families."""
    from visioncache.vlm.families.listing import family_records, markdown_table

    print(json.dumps(family_records(), indent=1) if options.json else markdown_table())
    return 0


def _measure(
    options: argparse.Namespace, names: Sequence[str], arms: Sequence[str], trials: int, out: Path
) -> BenchResult:
    # Sessions and arms first: a slip there should not cost the loading of a model.
    from visioncache.study.sessions import load_session

    sessions = [load_session(name) for name in names]
    from tqdm import tqdm

    from visioncache.study.benchmark import bench, check_request
    from visioncache.study.demo import load_model

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


def _check_writable(path: Path) -> None:
    """OSError now, rather than when everything is measured, for a file that can't be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    path.open("ab").close()
    if new:
        path.unlink()


def _show(result: BenchResult) -> None:
    told = ("chip", "backend", "system", "mlx", "mlx_vlm", "visioncache")
    machine = {**dict.fromkeys(told, "unknown"), **result.machine}
    print(
        f"\n{result.model} on {machine['chip']} ({machine['backend']}{_blas(machine)}), {machine['system']}"
    )
    print(f"mlx {machine['mlx']}, mlx-vlm {machine['mlx_vlm']}, visioncache {machine['visioncache']}\n")
    print(result.table())
    agree = "the same tokens in every arm" if result.tokens_equal else "TOKENS DIFFER BETWEEN ARMS"
    print(f"\n{agree}")


def _blas(machine: dict[str, Any]) -> str:
    return f", {machine['blas']}" if machine.get("blas") else ""


if __name__ == "__main__":
    sys.exit(main())
