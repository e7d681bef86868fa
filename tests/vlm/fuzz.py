"""Ask a model with a cache and its identical twin without one the same random things, and compare.

    python tests/vlm/fuzz.py --steps 100000            # from seed 0, about an hour
    python tests/vlm/fuzz.py --steps 100000 --seed 512 # goes on where a run stopped
    python tests/vlm/fuzz.py --episode 77              # one episode again, and the fewest steps that show it

A seed is an episode: a family, some images and a cache of some size, then steps. Each prints nothing unless
the two differ; then its seed and the fewest steps that still show the difference are printed.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
import warnings
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":  # as pytest does
    sys.path.insert(0, str(Path(__file__).resolve().parent))

import mlx.core as mx
import numpy as np
import zoo
from fuzzed.images import draw_photo
from fuzzed.side import Side
from fuzzed.steps import STEPS, Step
from twins import has_nan, outcome, refused, right, shown

from visioncache import VisionFeatureCache

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fuzzed.images import Photo

STEPS_AN_EPISODE = 25
SLOW = (
    "deepseek_vl_v2",
    "gemma3n",
    "granite4_vision",
    "kimi_vl",
    "llava_bunny",
    "locateanything",
    "moondream3",
    "phi3_v",
)
QUICK = (
    "dots_ocr", "falcon_ocr", "gemma3", "gemma4_unified", "internvl", "lfm2_vl", "llava", "llava_onevision",
    "llmjpvl", "mistral3", "multi_modality", "muse_glimmer", "paddleocr_vl", "paligemma", "phi4mm", "pixtral",
    "qwen2_5_vl", "qwen2_vl", "qwen3_5", "qwen3_vl", "zaya1_vl",
)  # fmt: skip
LOOSE = 1e-4
"""Several images encoded together or one by one: the same sums in another order, relative to the largest."""


@dataclass(frozen=True)
class Plan:
    """An episode before it is played."""

    seed: int
    family: str
    max_images: int
    photos: list[Photo]
    with_processor: bool
    max_size: int
    max_bytes: int | None
    store: bool
    prefixes: int | None
    """Bytes for keys and values of prompts; None keeps none."""
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        cache = f"max_size={self.max_size}, max_bytes={self.max_bytes}" + ", store=FOLDER" * self.store
        kept = "" if self.prefixes is None else f", prefixes of {self.prefixes} bytes"
        processor = "" if self.with_processor else ", prepared pixels"
        lines = [f"seed {self.seed}: {self.family}, VisionFeatureCache({cache}){kept}{processor}"]
        return "\n".join(lines + [f"  {n}. {step}" for n, step in enumerate(self.steps, 1)])


@dataclass(frozen=True)
class Difference:
    """Where an attached model differed from its twin."""

    plan: Plan
    at: int
    """The step, from 0."""
    what: str

    def __str__(self) -> str:
        return f"{self.plan}\n  -> {self.what}"


def plan_of(seed: int, family: str | None = None) -> Plan:
    """Draw an episode from its seed."""
    rng = random.Random(seed)
    names = zoo.families()
    weights = [0.05 if name in SLOW else 4 if name in QUICK else 0.6 for name in names]
    drawn = rng.choices(names, weights)[0]
    plan = Plan(
        seed=seed,
        family=family or drawn,
        max_images=ONE_IMAGE.get(family or drawn, 3),
        photos=[draw_photo(rng) for _ in range(rng.choice((1, 2, 3, 4)))],
        with_processor=rng.random() < 0.85,
        max_size=rng.choice((1, 2, 20, 20)),
        max_bytes=rng.choice((None, None, None, 2_000, 20_000)),
        store=rng.random() < 0.1,
        prefixes=random.Random(f"prefixes {seed}").choice((None, None, 2_000, 20_000, 1 << 30)),
        steps=(),
    )
    kinds = rng.choices(list(STEPS), [kind.often for kind in STEPS.values()], k=STEPS_AN_EPISODE)
    return replace(plan, steps=tuple(Step(name, STEPS[name].draw(rng, plan)) for name in kinds))


ONE_IMAGE = dict.fromkeys(
    ("falcon_ocr", "falcon_perception", "florence2", "granite4_vision", "granite_vision", "jina_vlm", "llava_bunny",
     "molmo", "moondream3", "multi_modality", "paddleocr_vl", "paligemma"),
    1,
)  # fmt: skip
"""Families that take one image a prompt."""


def play(plan: Plan, seen: Counter[str] | None = None) -> Difference | None:
    """Play an episode on both; the first difference, if there is one."""
    counts = Counter() if seen is None else seen
    with tempfile.TemporaryDirectory(prefix="visioncache-fuzz-") as folder:
        files = Path(folder) / "files"
        files.mkdir()
        store = str(Path(folder) / "store") if plan.store else None
        cache = VisionFeatureCache(plan.max_size, plan.max_bytes, store=store)
        twin = Side(zoo.build(plan.family), None, files, plan.with_processor)
        ours = Side(zoo.build(plan.family), cache, files, plan.with_processor, plan.prefixes)
        try:
            for n, step in enumerate(plan.steps):
                counts["steps"] += 1
                what = differs(step, twin, ours, counts)
                if what:
                    return Difference(plan, n, f"step {n + 1}: {what}")
        finally:
            counts.update(hits=cache.info().hits, misses=cache.info().misses, reused=ours.reused)
            counts[plan.family] += 1
            ours.detach()
            cache.close()
    return None


def differs(step: Step, twin: Side, ours: Side, counts: Counter[str]) -> str:
    """Say what is wrong with our answer to a step; nothing if it is the twin's."""
    want, got = outcome(lambda: step.run(twin)), outcome(lambda: step.run(ours))
    counts["answers"] += want is not None and not isinstance(want, Exception)
    both = zip(want, got, strict=True) if step.name == "ask_threads" else [(want, got)]
    wrong = [
        f"{shown(one)} where the twin's is {shown(other)}"
        for other, one in both
        if not fine(step, one, other)
    ]
    return "; ".join(wrong)


def fine(step: Step, got: Any, want: Any) -> bool:
    """Tell whether an answer is the twin's, or an error where the twin's is one or that is allowed."""
    if step.kind.refusable and (refused(got) or (has_nan(got) and "detached" in str(step))):
        return True
    if isinstance(want, Exception):  # mlx-vlm takes no BytesIO in many families: we may
        return isinstance(got, Exception) or not has_nan(got)
    together = len(step.given.get("images", ())) > 1
    return right(got, want) or (together and near(got, want))


def near(got: Any, want: Any) -> bool:
    """Tell whether two answers are equal but for the order of their sums."""
    if isinstance(want, (mx.array, np.ndarray)):
        one, other = mx.array(got), mx.array(want)
        if one.shape != other.shape or one.dtype != other.dtype:
            return False
        if not mx.issubdtype(one.dtype, mx.floating):
            return bool(mx.array_equal(one, other).item())
        most = abs(other).max().item() if other.size else 0.0
        loose = LOOSE if one.dtype == mx.float32 else 2e-2
        return not other.size or abs(one - other).max().item() <= loose * most
    if isinstance(want, dict):
        return (
            isinstance(got, dict) and got.keys() == want.keys() and all(near(got[n], want[n]) for n in want)
        )
    if isinstance(want, (list, tuple)):
        return type(got) is type(want) and len(got) == len(want) and all(map(near, got, want))
    return right(got, want)


def fewest(found: Difference) -> Difference:
    """The same difference after the fewest steps: runs of steps are left out, ever shorter ones."""
    best, run = cut(found), max(1, found.at // 2)
    while run:
        start = 0
        while start < best.at:
            steps = best.plan.steps[:start] + best.plan.steps[min(start + run, best.at) :]
            again = play(replace(best.plan, steps=steps))
            if again is None:
                start += run
            else:
                best = cut(again)
        run //= 2
    return best


def cut(found: Difference) -> Difference:
    """The difference without the steps behind it."""
    return replace(found, plan=replace(found.plan, steps=found.plan.steps[: found.at + 1]))


def fuzz(
    steps: int, seed: int = 0, *, counts: Counter[str], family: str | None = None, without: Sequence[str] = ()
) -> Iterator[Difference | None]:
    """Play episodes from a seed on until so many steps were compared; each one's difference, shortened."""
    while counts["steps"] < steps:
        plan = plan_of(seed, family)
        plan = replace(plan, steps=tuple(step for step in plan.steps if step.name not in without))
        found = play(plan, counts)
        seed += 1
        counts["next seed"] = seed
        counts["different"] += found is not None
        yield fewest(found) if found is not None else None


def summary(counts: Counter[str], seconds: float) -> str:
    """Say what was done, in a line."""
    families = [name for name in zoo.families() if counts[name]]
    return (
        f"{counts['steps']:,} random steps over {len(families)} families, {counts['hits']:,} hits, "
        f"{counts['misses']:,} misses, {counts['reused']:,} tokens not prefilled, {counts['different']:,} differences in {seconds:.0f} s; "
        f"go on with --seed {counts['next seed']}"
    )


def main() -> int:
    """Parse the command line and fuzz; 1 if anything differed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--steps", type=int, default=2000, help="how many to compare (default 2000)")
    parser.add_argument("--seed", type=int, default=0, help="the first episode's (default 0)")
    parser.add_argument("--episode", type=int, help="play this episode alone")
    parser.add_argument("--family", help="one family instead of all")
    parser.add_argument("--without", action="append", default=[], choices=STEPS, help="leave out such steps")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    counts: Counter[str] = Counter()
    start = reported = time.monotonic()
    first, steps = (given.seed, given.steps) if given.episode is None else (given.episode, 1)
    try:
        for found in fuzz(steps, first, counts=counts, family=given.family, without=given.without):
            if found is not None:
                print(f"\n{found}", flush=True)
            if time.monotonic() - reported > 60:
                reported = time.monotonic()
                print(summary(counts, reported - start), flush=True)
    except KeyboardInterrupt:
        print("\nstopped")
    print(summary(counts, time.monotonic() - start))
    return 1 if counts["different"] else 0


if __name__ == "__main__":
    sys.exit(main())
