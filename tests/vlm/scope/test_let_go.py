"""Nothing holds what is gone: a dropped model, its caches, replaced weights."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import pytest
import zoo
from harness import embedded, prepared
from mlx_vlm.generate import dispatch

from visioncache import VisionFeatureCache
from visioncache.vlm import attach

if TYPE_CHECKING:
    from collections.abc import Callable


BOTH = pytest.mark.parametrize("prefixes", [None, "1 GiB"])


def ask(tiny: zoo.Tiny) -> None:
    inputs = prepared(tiny, zoo.photos()[:1])
    ids, pixels, mask = (inputs.pop(name) for name in ("input_ids", "pixel_values", "attention_mask"))
    list(dispatch.generate_step(ids, tiny.model, pixels, mask, max_tokens=1, **inputs))


@BOTH
def test_a_model_that_is_dropped_is_freed_and_so_are_its_caches(prefixes: str | None) -> None:
    tiny = zoo.build("qwen2_5_vl")
    with attach(tiny.model, tiny.processor, VisionFeatureCache(), prefixes=prefixes) as attached:
        ask(tiny)
    alive = [weakref.ref(one) for one in (tiny.model, attached, attached.cache)]
    del tiny, attached
    gc.collect()
    assert [ref() for ref in alive] == [None] * 3


@pytest.mark.parametrize("family", ["falcon_perception", "gemma3", "minicpmo", "minicpmv4_7"])
def test_a_request_is_let_go_with_its_pixels(family: str) -> None:
    tiny = zoo.build(family)
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attached:
        for photo in zoo.photos() * 2:
            embedded(tiny, prepared(tiny, [photo]))
        gc.collect()
        assert len(attached.tickets._held) <= 2  # which some models keep
    model = weakref.ref(tiny.model)
    del tiny, attached
    gc.collect()
    assert model() is None


@BOTH
@pytest.mark.parametrize(
    "part",
    [
        lambda model: model.vision_tower.blocks[0].attn.qkv,
        lambda model: model.language_model.model.layers[0].self_attn.q_proj,
    ],
)
def test_weights_that_others_took_the_place_of_are_freed(
    prefixes: str | None, part: Callable[[Any], Any]
) -> None:
    tiny = zoo.build("qwen2_5_vl")
    module = part(tiny.model)
    with attach(tiny.model, tiny.processor, VisionFeatureCache(), prefixes=prefixes) as attached:
        old = weakref.ref(module.weight)
        module.weight = module.weight + 1
        mx.eval(module.weight)
        ask(tiny)
        assert attached.is_attached
        gc.collect()
        assert old() is None
