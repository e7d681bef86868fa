"""Sessions at the sizes of real models: none, mlx-vlm's cache and ours, with and without a prompt cache.

    python benchmarks/gpu_sessions.py --model qwen2.5-vl-3b --size 1280x960 2048x1536
    python benchmarks/gpu_sessions.py --checkpoint mlx-community/Qwen2.5-VL-3B-Instruct-4bit

Weights of `--model` are random, in bfloat16 (float32 on a CPU): times depend on shapes alone. Photographs
are the shipped ones, scaled to the size and saved as JPEG files. Writes data/results/sessions/<chip>-<model>.json, a run
an entry, as soon as each is done; the notebook of benchmarks and the README read that folder.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import mlx.core as mx
import pandas as pd
from attention import repeatable_attention
from PIL import Image
from shapes import SHAPES, build, described

from visioncache.study.benchmark.arms import ARMS, PREFIX_ARMS
from visioncache.study.benchmark.machine import describe_machine
from visioncache.study.benchmark.result import BenchResult, load_result
from visioncache.study.benchmark.run import bench
from visioncache.study.benchmark.sessions import Session, load_session
from visioncache.study.data import data_path

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZES = ("640x480", "1280x960", "2048x1536", "4032x3024")
SESSIONS = ("album", "page")
_WITH_PROMPT_CACHE = ("none", "mlx-vlm", "visioncache")
"""Arms that are run with mlx-vlm's prompt cache too: the others have keys and values of their own, or none."""


def main() -> None:
    """Parse, run size by size, write after each session."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--model", choices=SHAPES, default="qwen2.5-vl-3b", help="a shape, of random weights")
    model.add_argument("--checkpoint", help="a real model instead, as mlx_vlm.load takes it")
    parser.add_argument(
        "--size",
        nargs="+",
        type=size_of,
        default=[size_of(size) for size in SIZES],
        help=f"of photographs ({' '.join(SIZES)})",
    )
    parser.add_argument("--session", nargs="+", default=SESSIONS, help="sessions (default: album page)")
    parser.add_argument("--arms", nargs="+", default=ARMS, choices=(*ARMS, *PREFIX_ARMS))
    parser.add_argument("--prompt-cache", nargs="+", default=["off", "on"], choices=["off", "on"])
    parser.add_argument("--trials", type=int, default=3, help="runs of each session and arm (default 3)")
    parser.add_argument("--warm-up", type=int, help="turns run before, unmeasured (default: the session)")
    parser.add_argument(
        "--layers", type=int, help="so many layers of the language model; noted in the result"
    )
    parser.add_argument("--out", type=Path, default=data_path("results", "sessions"))
    options = parser.parse_args()
    machine = describe_machine()
    dtype = mx.float32 if machine["device"] == "cpu" else mx.bfloat16
    if options.checkpoint:
        from visioncache.study.benchmark.demo import load_model

        loaded, name = load_model(options.checkpoint), options.checkpoint
    else:
        loaded, name = build(options.model, options.layers, dtype), options.model
    path = options.out / f"{slug(machine['chip'])}-{slug(name)}.json"
    with tempfile.TemporaryDirectory() as folder, repeatable_attention() as attention:
        about = attention if options.checkpoint else described(dtype, options.layers, attention)
        for size in options.size:
            for session in scaled(options.session, size, Path(folder)):
                for prompt_cache in options.prompt_cache:
                    result = bench(
                        *loaded,
                        [session],
                        arms=[
                            arm for arm in options.arms if prompt_cache == "off" or arm in _WITH_PROMPT_CACHE
                        ],
                        trials=options.trials,
                        warm_up=options.warm_up,
                        max_tokens=1,
                        prompt_cache=prompt_cache == "on",
                        name=name,
                    )
                    result.about = about
                    result.turns.insert(0, "size", "x".join(map(str, size)))
                    sys.stdout.write(
                        f"\n{size[0]}x{size[1]}, prompt cache {prompt_cache}\n{result.table()}\n"
                    )
                    sys.stdout.flush()
                    with_earlier(path, result).save(path)


def scaled(names: list[str], size: tuple[int, int], folder: Path) -> Iterator[Session]:
    """Sessions about their photographs as a camera would have made them, `size` large, in files."""
    for name in names:
        session = load_session(name)
        files = {path: folder / f"{size[0]}x{size[1]}-{path.stem}.jpg" for path in session.images}
        for path, file in files.items():
            with Image.open(path) as image:
                turned = size if image.width >= image.height else size[::-1]
                image.convert("RGB").resize(turned, Image.Resampling.LANCZOS).save(file, quality=92)
        # What is asked stays; what random weights answer is not graded.
        turns = [
            replace(turn, images=tuple(files[path] for path in turn.images), expect=None)
            for turn in session.turns
        ]
        yield replace(session, turns=tuple(turns))


def with_earlier(path: Path, result: BenchResult) -> BenchResult:
    """A result together with the runs of its file that are not of the same kind."""
    if not path.is_file():
        return result
    kind = ["size", "session", "prompt_cache"]
    earlier = load_result(path).turns
    again = earlier.set_index(kind).index.isin(result.turns.set_index(kind).index)
    return replace(result, turns=pd.concat([earlier[~again], result.turns], ignore_index=True))


def slug(text: str) -> str:
    """A name as a file's."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-")


def size_of(text: str) -> tuple[int, int]:
    """Width and height of `1280x960`."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text}: give width x height, as in 1280x960")
    return int(match[1]), int(match[2])


if __name__ == "__main__":
    main()
