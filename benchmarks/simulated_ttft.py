"""Compare simulated times to first token with measured ones: sessions of the demo model on this machine.

    python benchmarks/simulated_ttft.py [--trials 12] [--session album branches page]

Stages and prefill are those of the album's arms `none` and `bound`; what is predicted is the arm with a cache, of every
session. On Linux preload OpenBLAS (`LD_PRELOAD=.../libopenblas.so.0`), and the result says so: the mlx wheel's own BLAS
is slow. Of each turn the fastest trial counts, for what else runs on a machine only ever adds. Writes
data/results/latency/<chip>-demo-vlm.json after each session.
"""

from __future__ import annotations

import argparse
import os
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd

from visioncache.events import STAGE_TAGS
from visioncache.study import bench, load_model, load_result, load_session, ttft
from visioncache.study.benchmark.machine import describe_machine
from visioncache.study.data import data_path
from visioncache.study.sim.profile import profile_from

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from visioncache.study.benchmark.result import BenchResult
    from visioncache.study.benchmark.sessions import Session
    from visioncache.study.sim.profile import Profile

SESSIONS = ("album", "branches", "page")
ARMS = ("none", "visioncache", "bound")
APART_S = 1000.0
"""Between turns, so that none waits for another: a person asks when the answer is there."""


def trace_of(session: Session, profile: Profile, prompts: Sequence[int]) -> pd.DataFrame:
    """Write a session as look-ups: every image that a turn shows, with what a miss of it takes.

    A prompt's tokens, those of the chat so far among them, are shared out over its images.
    """
    seconds = sum(getattr(profile.image, name) for name in STAGE_TAGS)
    rows = [
        (APART_S * turn, session.name, turn, path.name, prompts[turn] / len(session.shown(turn)), seconds)
        for turn in range(len(session.turns))
        for path in session.shown(turn)
    ]
    trace = pd.DataFrame(rows, columns=["time", "session", "turn", "key", "tokens", "seconds"])
    return trace.assign(nbytes=profile.image.at_tokens * profile.image.bytes_per_token)


def compare(result: BenchResult) -> pd.DataFrame:
    """Set simulated beside measured: a row a session and arm, sums of TTFT and the share of hits."""
    turns = result.turns
    turns = turns.loc[turns.groupby(["session", "arm", "turn"])["ttft_s"].idxmin()]
    profile = replace(profile_from(turns[turns["session"] == "album"], result.model), text_tokens=0)
    rows = []
    for name in turns["session"].unique():
        session = load_session(name)
        prompts = turns[(turns["session"] == name) & (turns["arm"] == "none")].sort_values("turn")
        trace = trace_of(session, profile, prompts["prompt_tokens"].tolist())
        table = ttft(trace, "visioncache", session.max_size, "entries", profile=profile)
        simulated = table.set_index("policy")
        for arm, policy in (("none", "none"), ("visioncache", "visioncache")):
            measured = turns[(turns["session"] == name) & (turns["arm"] == arm)]
            asked, seconds = measured["images"].sum(), measured["ttft_s"].sum()
            told = simulated.loc[policy, "ttft_mean"] * len(session.turns)
            rows.append(
                {
                    "session": name,
                    "arm": arm,
                    "measured_s": seconds,
                    "simulated_s": told,
                    "error": told / seconds - 1,
                    "hits": 0.0 if arm == "none" else (asked - measured["encodes"].sum()) / asked,
                    "simulated_hits": simulated.loc[policy, "hit_ratio"],
                }
            )
    return pd.DataFrame(rows)


def published_latency() -> BenchResult:
    """Load the result that ships."""
    return load_result(min((data_path("results") / "latency").glob("*.json")))


def result_path(folder: Path | None = None) -> Path:
    """Name the file of this machine."""
    chip = re.sub(r"[^a-z0-9]+", "-", str(describe_machine()["chip"]).lower()).strip("-")
    return (folder or data_path("results") / "latency") / f"{chip}-demo-vlm.json"


def main() -> None:
    """Measure, write, compare."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--session", nargs="+", default=SESSIONS)
    parser.add_argument("--trials", type=int, default=12)
    options = parser.parse_args()
    path = result_path()

    def keep(result: BenchResult) -> None:
        result.about = f"OPENBLAS_NUM_THREADS={os.environ.get('OPENBLAS_NUM_THREADS', 'all')}"
        result.save(path)

    model, processor = load_model()
    bench(
        model,
        processor,
        [*dict.fromkeys(["album", *options.session])],
        arms=[*ARMS],
        trials=options.trials,
        name="demo-vlm",
        keep=keep,
    )
    print(compare(load_result(path)).to_string(index=False))


if __name__ == "__main__":
    main()
