"""What a first look at an image costs: the time to its first token without a cache, and with an empty one.

    python benchmarks/miss_cost.py [--model mlx-community/...] [--rounds 12]

Each photograph is asked about both ways, in pairs whose order alternates, after one round that does not
count. Prints the median of the pairs' ratios and of their differences. The demo model by default.
"""

from __future__ import annotations

import argparse
import statistics

from tqdm import tqdm

from visioncache import VisionFeatureCache
from visioncache.study.data import data_path
from visioncache.study.demo import load_model
from visioncache.study.machine import describe_machine
from visioncache.vlm import Chat, attach


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", help="a model that mlx_vlm.load finds (default: the demo model)")
    parser.add_argument("--rounds", type=int, default=12, help="how often each photograph is asked about")
    options = parser.parse_args()
    model, processor = load_model(options.model)
    photographs = sorted(data_path("images").glob("*.*g"))

    def first_token(photograph: object, cache: VisionFeatureCache | None) -> float:
        return Chat(model, processor, cache, max_tokens=1).ask("What is this?", [photograph]).ttft

    def first_look(photograph: object) -> float:
        cache = VisionFeatureCache()
        with attach(model, processor, cache):
            return first_token(photograph, cache)

    pairs = []
    for number in tqdm(range(options.rounds + 1), unit="round"):
        for photograph in photographs:
            with_cache = first_look(photograph) if number % 2 else None
            without = first_token(photograph, None)
            pairs.append((without, with_cache or first_look(photograph)))
    pairs = pairs[len(photographs) :]
    ratio = statistics.median(ours / none for none, ours in pairs)
    more = statistics.median(ours - none for none, ours in pairs)
    seconds = statistics.median(none for none, _ in pairs)
    print({name: value for name, value in describe_machine().items() if name in {"chip", "backend", "blas"}})
    print(
        f"{len(pairs)} pairs: {seconds * 1e3:.0f} ms without a cache, {more * 1e3:+.1f} ms with an empty one"
    )
    print(f"a first look takes {ratio:.3f} of the time")


if __name__ == "__main__":
    main()
