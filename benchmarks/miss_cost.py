"""Measure a first look at an image: the time to its first token without a cache, and with an empty one.

    python benchmarks/miss_cost.py [--rounds 12]
    python benchmarks/miss_cost.py --checkpoint mlx-community/...
    python benchmarks/miss_cost.py --model qwen2.5-vl-3b --size 1280x960

The album's photographs are asked about both ways, in pairs of random order, after one round that
does not count. The demo model by default, with the photographs as they are shipped; the shapes of real models with
random weights, and photographs of a size, as in `gpu_sessions.py`. Prints the median of the pairs' ratios
and of their differences; writes every pair to data/results/misses/<chip>-<model>.json.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlx.core as mx
from attention import repeatable_attention
from gpu_sessions import scaled, size_of, slug
from shapes import SHAPES, build, described
from tqdm import tqdm

from visioncache import VisionFeatureCache
from visioncache.study.benchmark.demo import load_model
from visioncache.study.benchmark.machine import describe_machine
from visioncache.study.benchmark.sessions import load_session
from visioncache.study.data import data_path
from visioncache.vlm import Chat, attach

if TYPE_CHECKING:
    from collections.abc import Sequence


def main() -> None:
    """Parse, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--model", choices=SHAPES, help="a shape, of random weights")
    model.add_argument("--checkpoint", help="a model that mlx_vlm.load finds (default: the demo model)")
    parser.add_argument("--size", type=size_of, help="of photographs (default: as shipped)")
    parser.add_argument("--rounds", type=int, default=12, help="how often each photograph is asked about")
    parser.add_argument("--out", type=Path, default=data_path("results", "misses"))
    options = parser.parse_args()
    machine = describe_machine()
    dtype = mx.float32 if machine["device"] == "cpu" else mx.bfloat16
    loaded = build(options.model, dtype=dtype) if options.model else load_model(options.checkpoint)
    name = options.model or options.checkpoint or "demo-vlm"
    with tempfile.TemporaryDirectory() as folder, repeatable_attention() as attention:
        album = load_session("album")
        if options.size:
            (album,) = scaled(["album"], options.size, Path(folder))
        pairs = measured(*loaded, album.images, options.rounds)
    size = "x".join(map(str, options.size)) if options.size else "as shipped"
    ratio = statistics.median(ours / none for none, ours in pairs)
    more = statistics.median(ours - none for none, ours in pairs)
    seconds = statistics.median(none for none, _ in pairs)
    sys.stdout.write(
        f"{machine['chip']}, {machine['backend']}, BLAS {machine['blas']}; {name}, {size}: {len(pairs)} pairs: "
        f"{seconds * 1e3:.0f} ms without a cache, {more * 1e3:+.1f} ms with an empty one; "
        f"a first look takes {ratio:.3f} of the time\n"
    )
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"{slug(machine['chip'])}-{slug(name)}.json"
    runs = json.loads(path.read_text(encoding="utf-8"))["runs"] if path.is_file() else []
    runs = [run for run in runs if run["size"] != size]
    about = described(dtype, None, attention) if options.model else attention
    run = {"size": size, "about": about, "machine": machine, "ratio": ratio, "none_s": seconds}
    content = {"model": name, "runs": [*runs, {**run, "more_s": more, "pairs_s": pairs}]}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def measured(model: Any, processor: Any, images: Sequence[Path], rounds: int) -> list[tuple[float, float]]:
    """Seconds to the first token without a cache and with an empty one, a pair an image and round."""
    cache = VisionFeatureCache()

    def first_token(cache: VisionFeatureCache | None, image: Path) -> float:
        return Chat(model, processor, cache, max_tokens=1).ask("What is this?", [image]).ttft

    def without(image: Path) -> float:
        with attached.suspended():
            return first_token(None, image)

    def missed(image: Path) -> float:
        cache.clear()
        return first_token(cache, image)

    pairs, order = [], random.Random(0)  # in an order that repeats, an arm pays for what the other left
    with attach(model, processor, cache) as attached:
        for _ in tqdm(range(rounds + 1), unit="round"):
            for image in images:
                arms = [without, missed]
                times = {arm: arm(image) for arm in order.sample(arms, 2)}
                pairs.append((times[without], times[missed]))
    return pairs[len(images) :]


if __name__ == "__main__":
    main()
