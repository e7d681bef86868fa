"""How much an image encoded alone differs from the same image encoded beside others, family by family.

attach encodes each missing image by itself; mlx-vlm encodes all images of a request together. The sums
are the same, in another order where a library picks another kernel for another batch. For the tiny
model of every family: the largest difference between what the language model is given of three images
(or as many as the family takes), by the largest number in it, and whether greedy tokens are the same.

    python benchmarks/one_by_one.py [--families qwen2_vl llava ...] [--out data/results/one_by_one.json]
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import mlx.core as mx

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "vlm"))

import zoo  # noqa: E402
from harness import embedded, greedy, prepared  # noqa: E402

from visioncache import VisionFeatureCache  # noqa: E402
from visioncache.study.benchmark.machine import describe_machine  # noqa: E402
from visioncache.vlm import FAMILIES, attach  # noqa: E402


def measured(family: str) -> dict[str, Any]:
    """One family's line."""
    tiny = zoo.build(family)
    images = zoo.photos()[: tiny.max_images]
    runs = not tiny.metal or mx.metal.is_available()
    together = given(tiny, images)
    tokens = greedy(tiny, images) if runs else None
    with attach(tiny.model, tiny.processor, VisionFeatureCache()):
        alone = given(tiny, images)
        same = greedy(tiny, images) == tokens if runs else None
    difference = abs(alone - together).max() / abs(together).max()
    return {
        "family": family,
        "granularity": FAMILIES[family].granularity,
        "images": len(images),
        "difference": difference.item(),
        "same_tokens": same,
    }


def given(tiny: zoo.Tiny, images: list[Any]) -> mx.array:
    """Return what the language model is given of images."""
    inputs = embedded(tiny, prepared(tiny, images))
    return inputs.get("cross_attention_states", inputs["inputs_embeds"]).astype(mx.float32)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--families", nargs="+", default=sorted(FAMILIES), choices=sorted(FAMILIES), metavar="NAME"
    )
    parser.add_argument("--out", type=Path, help="where to write the numbers as JSON")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # what mlx-vlm's processors deprecate is not measured here
    records = []
    for family in options.families:
        record = measured(family)
        records.append(record)
        tokens = {True: "same tokens", False: "OTHER TOKENS", None: "tokens need Metal"}[
            record["same_tokens"]
        ]
        print(
            f"{family:20} per {record['granularity']:8} {record['images']} images  "
            f"{record['difference']:.1e}  {tokens}"
        )
    worst = max(records, key=lambda record: record["difference"])
    exact = sum(record["difference"] == 0 for record in records)
    rest = f"; at most {worst['difference']:.1e} ({worst['family']})" if worst["difference"] else ""
    print(f"\n{exact} of {len(records)} bit for bit{rest}")
    if options.out is not None:
        result = {"machine": describe_machine(), "families": records}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if any(record["same_tokens"] is False for record in records):
        sys.exit("greedy tokens differ")


if __name__ == "__main__":
    main()
