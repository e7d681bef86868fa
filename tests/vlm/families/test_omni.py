"""Pictures, films and sounds in one request: each keeps its place, whatever of it is known."""

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
PROMPT = (
    "<|audio_start|><|audio_pad|><|audio_end|>What "
    "<|vision_start|><|image_pad|><|vision_end|> and <|vision_start|><|video_pad|><|vision_end|>"
    " and <|vision_start|><|image_pad|><|vision_end|> have of it?"
)


def sound(pitch: float) -> np.ndarray:
    return np.sin(np.arange(8000, dtype=np.float32) * pitch / 16000 * 2 * np.pi)


def film(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (4, 3, 64, 64), dtype=np.uint8)


@pytest.fixture
def tiny() -> zoo.Tiny:
    return zoo.build("qwen3_omni_moe")


def asked(tiny: zoo.Tiny, images: list[Any], video: np.ndarray, audio: np.ndarray) -> dict[str, Any]:
    return prepare_inputs(
        tiny.processor, images=images, videos=[video], audio=[audio], prompts=PROMPT, add_special_tokens=False
    )


def answer(model: Any, inputs: dict[str, Any]) -> list[int]:
    inputs = dict(inputs)
    ids, pixels = inputs.pop("input_ids"), inputs.pop("pixel_values")
    mask = inputs.pop("attention_mask")
    steps = generate_step(ids, model, pixels, mask, max_tokens=4, temperature=0.0, **inputs)
    return [int(token) for token, _ in steps]


def test_all_three_in_one_request(tiny: zoo.Tiny) -> None:
    plain = embedded(tiny, asked(tiny, [A, B], film(1), sound(440)))
    tokens = answer(tiny.model, asked(tiny, [A, B], film(1), sound(440)))
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attachment:
        miss = embedded(tiny, asked(tiny, [A, B], film(1), sound(440)))
        assert attachment.stages.totals().counts["tower"] == 3
        hit = embedded(tiny, asked(tiny, [A, B], film(1), sound(440)))
        assert attachment.stages.totals().counts["tower"] == 3
        assert answer(tiny.model, asked(tiny, [A, B], film(1), sound(440))) == tokens
    assert same(miss, hit)
    assert plain.keys() == miss.keys()
    for name, value in plain.items():
        assert value.shape == hit[name].shape
        if value.dtype == miss["inputs_embeds"].dtype:
            assert abs(value - hit[name]).max().item() <= 1e-4 * abs(value).max().item()
        else:
            assert same(value, hit[name])


def test_a_known_picture_beside_another_sound_and_another_film(tiny: zoo.Tiny) -> None:
    requests = [
        ([A, B], film(1), sound(440)),
        ([A, B], film(1), sound(990)),
        ([B, A], film(2), sound(440)),
        ([A, A], film(1), sound(990)),
    ]
    plain = [embedded(tiny, asked(tiny, *request)) for request in requests]
    assert not same(plain[0]["inputs_embeds"], plain[1]["inputs_embeds"])
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attachment:
        ours = [embedded(tiny, asked(tiny, *request)) for request in requests]
        assert attachment.stages.totals().counts["tower"] == 4  # two pictures, two films
    for one, other in zip(plain, ours, strict=True):
        for name in ("inputs_embeds", "deepstack_visual_embeds"):
            assert abs(one[name] - other[name]).max().item() <= 1e-4 * abs(one[name]).max().item()
        assert same(one["position_ids"], other["position_ids"])


def test_a_sound_is_encoded_once_a_request_and_not_for_each_picture(
    tiny: zoo.Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    kind = type(tiny.model.thinker)
    original = kind.get_audio_features
    monkeypatch.setattr(
        kind, "get_audio_features", lambda *args, **kwargs: calls.append(1) or original(*args, **kwargs)
    )
    with attach(tiny.model, tiny.processor, VisionFeatureCache()):
        embedded(tiny, asked(tiny, [A, B], film(1), sound(440)))
    assert len(calls) == 1


def test_its_own_ways_of_generating_take_the_same_way(tiny: zoo.Tiny) -> None:
    """Model.generate and what feeds the talker enter by the thinker, past the model's own methods."""

    def both() -> tuple[Any, Any]:
        inputs = asked(tiny, [A, B], film(1), sound(440))
        ids = inputs.pop("input_ids")
        inputs.pop("attention_mask")
        result, _ = tiny.model.generate(ids, return_audio=False, thinker_max_new_tokens=4, **inputs)
        return result.sequences, tiny.model.extract_thinker_hidden_states(ids, 1, **inputs)[0]

    plain, states = both()
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attachment:
        for _ in range(2):
            sequences, ours = both()
            assert sequences.tolist() == plain.tolist()
            assert abs(states - ours).max().item() <= 1e-3 * abs(states).max().item()
        assert attachment.stages.totals().counts["tower"] == 3
