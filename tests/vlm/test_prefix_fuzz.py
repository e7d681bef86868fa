"""Any order of conversations, budgets and interrupts: what is answered is what is answered cold."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import pytest
import zoo
from harness import prepared, same
from mlx_vlm.generate import dispatch

from visioncache import VisionFeatureCache
from visioncache.vlm import attach
from visioncache.vlm.prefixes import Prefixes

PAD = "<|vision_start|><|image_pad|><|vision_end|>"
PHOTOS = zoo.photos()


@pytest.fixture(scope="module")
def tiny() -> zoo.Tiny:
    return zoo.build("qwen2_5_vl")


def asked(tiny: zoo.Tiny, images: list[Any], prompt: str) -> list[Any]:
    inputs = prepared(tiny, images, prompt)
    ids, pixels = inputs.pop("input_ids"), inputs.pop("pixel_values", None)
    mask = inputs.pop("attention_mask", None)
    steps = dispatch.generate_step(ids, tiny.model, pixels, mask, max_tokens=2, temperature=0.0, **inputs)
    return [(int(token), logits) for token, logits in steps]


@pytest.mark.parametrize("seed", range(6))
def test_answers_are_the_cold_ones_whatever_was_asked_evicted_or_struck(tiny: zoo.Tiny, seed: int) -> None:
    rng = random.Random(seed)
    cache = VisionFeatureCache(None, rng.choice([20_000, 60_000, None]))
    prefixes = Prefixes(cache, tiny.model, shortest=2)
    features = VisionFeatureCache(3)
    known: dict[tuple[str, tuple[int, ...]], list[Any]] = {}
    prompt, shown = "", ()

    def strike(event: Any) -> None:
        if event.kind == "put" and rng.random() < 0.1:
            raise KeyboardInterrupt

    cache.subscribe(strike)
    for _ in range(14):
        if rng.random() < 0.25:
            prompt, shown = rng.choice([("", ()), (prompt, shown)])
        if rng.random() < 0.5 and len(shown) < 3:
            prompt, shown = prompt + PAD, (*shown, rng.randrange(3))
        elif shown and rng.random() < 0.3:
            shown = (rng.randrange(3), *shown[1:])
        prompt += rng.choice(["What? ", "And where is it? ", "No. "]) + rng.choice(["<eos>", ""])
        images = [PHOTOS[number] for number in shown]
        if (prompt, shown) not in known:
            fresh = Prefixes(VisionFeatureCache(None), tiny.model, shortest=2)
            with attach(tiny.model, tiny.processor, VisionFeatureCache(), prefixes=fresh):
                known[prompt, shown] = asked(tiny, images, f"{prompt}A:")
        with (
            attach(tiny.model, tiny.processor, features, prefixes=prefixes),
            contextlib.suppress(KeyboardInterrupt),
        ):
            assert same(asked(tiny, images, f"{prompt}A:"), known[prompt, shown])
        if rng.random() < 0.2:
            cache.trim(rng.randrange(1, 4_000))
        assert not any(entry.pinned for entry in cache.entries())
    assert prefixes.totals().reused > 0
