"""`visioncache demo`: one session under every arm, with its conversation, a table and a plot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visioncache.cli.bench import ARMS, measure, show
from visioncache.cli.options import add_model_options
from visioncache.sizes import count

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `visioncache demo` takes."""
    parser.add_argument("--session", default="album", help="a session's name or file (default album)")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the result and the plot")
    add_model_options(parser)


def run(options: argparse.Namespace) -> int:
    """Hold one session under every arm: the conversation, the table, the plot."""
    result = measure(options, [options.session], ARMS.split(","), 1, options.out / "demo.json")
    arm = result.turns[result.turns["arm"] == "visioncache"]
    columns = (arm[name].tolist() for name in ("turn", "images", "answer", "correct"))
    for number, images, answer, correct in zip(*columns, strict=True):
        right = {1.0: "right", 0.0: "wrong"}.get(correct, "")
        print(f"  turn {number}, {count(images, 'image')}: {answer!r} {right}")
    show(result)
    from visioncache import plots

    picture = options.out / "demo.png"
    figure: Any = plots.ttft(result).figure
    told = json.dumps({"model": result.model, "session": options.session, "machine": result.machine})
    figure.savefig(picture, dpi=144, bbox_inches="tight", facecolor="white", metadata={"Description": told})
    print(f"\nwrote {picture} and {options.out / 'demo.json'}")
    return 0 if result.tokens_equal else 1
