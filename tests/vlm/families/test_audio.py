"""Audio beside images: Phi-4-multimodal, which puts another LoRA into its language model for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import zoo
from harness import embedded, same
from mlx_vlm.generate import generate_step
from mlx_vlm.utils import prepare_inputs

from visioncache import VisionFeatureCache
from visioncache.vlm import attach

A, B, _ = zoo.photos()
SOUND = np.sin(np.arange(8000) ** 1.2 / 9).astype(np.float32)
REQUESTS: list[tuple[list[Any], list[Any]]] = [
    ([A], [SOUND]),
    ([A], []),
    ([], [SOUND]),
    ([B, A], [SOUND]),
    ([A], [SOUND[:5000]]),
    ([B], []),
]


@pytest.fixture
def tiny() -> zoo.Tiny:
    return zoo.build("phi4mm")


def heard(tiny: zoo.Tiny, images: list[Any], sounds: list[Any]) -> dict[str, Any]:
    inputs = prepare_inputs(
        tiny.processor,
        images=images or None,
        audio=sounds or None,
        prompts="<|audio_1|>" * len(sounds) + tiny.prompt(len(images)),
    )
    inputs.pop("attention_mask")
    return inputs


def answer(tiny: zoo.Tiny, images: list[Any], sounds: list[Any]) -> list[int]:
    inputs = heard(tiny, images, sounds)
    ids, pixels = inputs.pop("input_ids"), inputs.pop("pixel_values", None)
    steps = generate_step(ids, tiny.model, pixels, None, max_tokens=4, temperature=0.0, **inputs)
    return [int(token) for token, _ in steps]


def test_the_adapters_change_what_is_answered(tiny: zoo.Tiny) -> None:
    weights = set()
    for images, sounds in REQUESTS[:3]:
        answer(tiny, images, sounds)
        weights.add(tiny.model.language_model.model.layers[0].self_attn.qkv_proj.weight.sum().item())
    assert len(weights) == 3


def test_each_request_is_answered_as_without_a_cache_whatever_was_heard_before(tiny: zoo.Tiny) -> None:
    plain = [answer(tiny, *request) for request in REQUESTS]
    with attach(tiny.model, tiny.processor, VisionFeatureCache()):
        assert [answer(tiny, *request) for request in REQUESTS] == plain
        assert [answer(tiny, *request) for request in REQUESTS[::-1]] == plain[::-1]
    assert [answer(tiny, *request) for request in REQUESTS] == plain


def test_an_image_is_encoded_once_with_sounds_or_without(tiny: zoo.Tiny) -> None:
    cache = VisionFeatureCache()
    with attach(tiny.model, tiny.processor, cache) as attachment:
        for request in REQUESTS:
            answer(tiny, *request)
        assert attachment.stages.totals().counts["tower"] == len(cache) == 2


def test_a_hit_beside_a_sound_gives_the_very_bits_of_the_miss(tiny: zoo.Tiny) -> None:
    with attach(tiny.model, tiny.processor, VisionFeatureCache()):
        one, other = (embedded(tiny, heard(tiny, [A, B], [SOUND])) for _ in range(2))
    assert same(one, other)
