"""Compare to the last bit what a language model is given with and without a cache, and what it answers.

    python benchmarks/same_bits.py --model qwen3-vl-4b --size 1280x960 2048x1536 --session album branches
    python benchmarks/same_bits.py --model qwen3-vl-4b --attention any   # as MLX picks it

Minutes on a GPU, with a bar of arms; hours on a CPU.

The sessions' turns, each as a conversation of its own, so that no answer changes what is asked next. Of each
are kept the digests of every array that the language model is called with (embeddings, and whatever goes
with them), and of the logits of the first token; their two largest, and how far logits of one turn lie apart.
Weights are random, as in `gpu_sessions.py`. Writes data/results/bits/<chip>-<model>.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from contextlib import nullcontext
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
import pandas as pd
from attention import repeatable_attention
from gpu_sessions import scaled, size_of, slug
from mlx.utils import tree_flatten
from shapes import SHAPES, build, described
from tqdm import tqdm

from visioncache.study.benchmark.arms import arm_chat
from visioncache.study.benchmark.machine import describe_machine
from visioncache.study.benchmark.run import converse
from visioncache.study.data import data_path
from visioncache.vlm.patching.instances import around, patched

if TYPE_CHECKING:
    from visioncache.study.benchmark.sessions import Session

ARMS = ("none", "mlx-vlm", "visioncache")
TURN = ["size", "session", "turn"]
Turn = tuple[str, str, int]


def main() -> None:
    """Parse, run every arm as often as asked, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", choices=SHAPES, default="qwen2.5-vl-3b")
    parser.add_argument(
        "--size", type=size_of, nargs="+", default=[(1280, 960)], help="of photographs (1280x960)"
    )
    parser.add_argument("--session", nargs="+", default=["album"], help="sessions to take turns from (album)")
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--layers", type=int, help="so many layers of the language model")
    parser.add_argument("--attention", choices=["same", "any"], default="same", help="see attention.py")
    parser.add_argument("--out", type=Path, default=data_path("results", "bits"))
    options = parser.parse_args()
    machine = describe_machine()
    dtype = mx.float32 if machine["device"] == "cpu" else mx.bfloat16
    model, processor = build(options.model, options.layers, dtype)
    watch = Watch()
    rows: list[dict[str, Any]] = []
    language = model.language_model
    attention = repeatable_attention() if options.attention == "same" else nullcontext("")
    with (
        tempfile.TemporaryDirectory() as folder,
        patched(language, __call__=around(language, "__call__", watch.call)),
        attention as about,
    ):
        for size in options.size:
            for session in scaled(options.session, size, Path(folder)):
                where = {"size": "x".join(map(str, size)), "session": session.name}
                arms = tqdm(list(product(range(options.trials), ARMS)), "arms", disable=None)
                for trial, arm in arms:
                    with arm_chat(arm, model, processor, max_tokens=1) as start:
                        for number, turn in enumerate(converse(one_by_one(session), start)):
                            row = {"arm": arm, "trial": trial, "turn": number + 1, "tokens": turn.tokens}
                            images = len(session.shown(number))
                            rows.append(
                                where | row | {"images": images} | watch.seen((*where.values(), number + 1))
                            )
    report = summary(pd.DataFrame(rows), watch.apart)
    result = {
        "model": options.model,
        "about": described(dtype, options.layers, about),
        "attention": options.attention,
        "machine": machine,
        "turns": report.to_dict("records"),
        "runs": rows,
    }
    which = "" if options.attention == "same" else "-any-attention"
    path = options.out / f"{slug(machine['chip'])}-{slug(options.model)}{which}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"{report.to_string(index=False)}\n")


class Watch:
    """Record what a language model is called with and what it returns, turn by turn."""

    def __init__(self) -> None:
        self._given: list[mx.array] = []
        self._logits = mx.array(())
        self._variants: dict[Turn, dict[str, np.ndarray]] = {}

    def call(self, original: Any, *args: Any, **kwargs: Any) -> Any:
        """The model's call, looked at."""
        # mlx-vlm passes masks of pixels on, which no language model reads; of a known image they stand in.
        told = {name: value for name, value in kwargs.items() if name != "cache" and "pixel" not in name}
        output = original(*args, **kwargs)
        if kwargs.get("inputs_embeds") is not None:  # not the tokens after the first
            self._given += [item for _, item in tree_flatten([args, told]) if isinstance(item, mx.array)]
            self._logits = output.logits[:, -1]
        return output

    def seen(self, turn: Turn) -> dict[str, Any]:
        """Digests since the last time it was asked, and the two largest logits."""
        logits = np.array(self._logits.astype(mx.float32)).ravel()
        digest = bits(self._logits)
        self._variants.setdefault(turn, {}).setdefault(digest, logits)
        second, first = np.sort(logits)[-2:]
        seen = {"given": bits(*self._given), "logits": digest, "gap": float(first - second)}
        self._given = []
        return seen | {"deviation": float(logits.std())}

    def apart(self, turn: Turn, one: str, other: str) -> float:
        """The largest difference between two of a turn's logits."""
        variants = self._variants[turn]
        return float(np.abs(variants[one] - variants[other]).max())


def bits(*arrays: mx.array) -> str:
    """A digest of the bits of arrays."""
    digest = hashlib.blake2b(digest_size=8)
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.asarray(mx.contiguous(array).view(mx.uint8)).tobytes())
    return digest.hexdigest()


def one_by_one(session: Session) -> Session:
    """Every turn of a session as a conversation of its own about all images so far."""
    turns = [
        replace(turn, images=tuple(session.shown(number)), after=0)
        for number, turn in enumerate(session.turns)
    ]
    return replace(session, turns=tuple(turns))


def summary(runs: pd.DataFrame, apart: Any) -> pd.DataFrame:
    """A row a turn: in how many ways it was given and answered, and how near a tie that was."""
    rows = []
    for turn, group in runs.groupby(TURN, sort=False):
        by_arm = group.groupby("arm", sort=False)
        expected = group[group["arm"] == "none"]
        ours = group[group["arm"] == "visioncache"]
        logits = group["logits"].unique()
        rows.append(
            {
                **dict(zip(TURN, turn, strict=True)),
                "images": int(group["images"].iloc[0]),
                "given_most": int(by_arm["given"].nunique().max()),
                "given_as_none": set(ours["given"]) == set(expected["given"]),
                "logits_most": int(by_arm["logits"].nunique().max()),
                "logits_as_none": set(ours["logits"]) == set(expected["logits"]),
                "apart": max((apart(turn, *two) for two in combinations(logits, 2)), default=0.0),
                "gap": float(group["gap"].min()),
                "deviation": float(group["deviation"].iloc[0]),
                "tokens": int(group["tokens"].map(tuple).nunique()),
            }
        )
    return pd.DataFrame(rows)


if __name__ == "__main__":
    main()
