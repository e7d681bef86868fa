"""Parts of models: exchanged between two that are attached, lent, taken out of a list, wrapped twice."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import pytest
import zoo
from harness import embedded, prepared, same
from twins import Scene, assert_alike, outcome

from visioncache import VisionFeatureCache
from visioncache.vlm import attach
from visioncache.vlm.families.recognise import family_of

if TYPE_CHECKING:
    from collections.abc import Callable

A, B, _ = zoo.photos()
FAMILIES = ["gemma3", "glm4v", "idefics3", "llava", "mistral3", "paligemma", "qwen2_5_vl"]


def seam_of(tiny: zoo.Tiny) -> str:
    """Name the submodule where a family's features are caught."""
    return family_of(tiny.model).seam


def answers(pair: list[zoo.Tiny]) -> list[Any]:
    return [embedded(tiny, prepared(tiny, [image])) for image in (A, B) for tiny in pair]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("first", [0, 1])
def test_two_attached_models_exchange_a_part(family: str, first: int) -> None:
    def exchange(pair: list[zoo.Tiny]) -> None:
        seam = seam_of(pair[0])
        parts = [tiny.model[seam] for tiny in pair]
        for tiny, part in zip(pair[::-1], parts, strict=True):
            setattr(tiny.model, seam, part)

    plain, ours = ([zoo.build(family, seed=seed) for seed in (0, 1)] for _ in range(2))
    wanted = [answers(plain)]
    exchange(plain)
    wanted.append(answers(plain))
    cache = VisionFeatureCache()
    attached = [attach(tiny.model, tiny.processor, cache) for tiny in ours]
    kinds = [type(tiny.model[seam_of(tiny)]).__mro__[1] for tiny in ours]
    try:
        for want in (wanted[0], wanted[1], wanted[0]):
            asked = ours if first == 0 else ours[::-1]  # either may find out before the other
            for image in (A, B):
                got = [embedded(tiny, prepared(tiny, [image])) for tiny in asked]
                assert same(got if first == 0 else got[::-1], want[:2] if image is A else want[2:])
            exchange(ours)
    finally:
        for one in attached:
            one.detach()
    assert [type(tiny.model[seam_of(tiny)]) for tiny in ours] == kinds


@pytest.mark.parametrize("family", FAMILIES)
def test_a_part_that_two_attached_models_share_is_refused_until_one_is_detached(family: str) -> None:
    plain, ours = ([zoo.build(family, seed=seed) for seed in (0, 1)] for _ in range(2))
    cache = VisionFeatureCache()
    attached = [attach(tiny.model, tiny.processor, cache) for tiny in ours]
    for pair in (plain, ours):
        setattr(pair[0].model, seam_of(pair[0]), pair[1].model[seam_of(pair[1])])
    want = answers(plain)
    try:
        for _ in range(3):
            refused = outcome(lambda: embedded(ours[0], prepared(ours[0], [A])))
            assert "another model that is attached shares this" in str(refused)
            assert same(embedded(ours[1], prepared(ours[1], [A])), want[1])
        attached[1].detach()
        for _ in range(2):
            assert same(answers(ours), want)
    finally:
        attached[0].detach()


@pytest.mark.parametrize(
    ("family", "where"),
    [
        ("internvl_chat", "mlp1"),
        ("llmjpvl", "mlp1"),
        ("phi3_v", "model.vision_embed_tokens.img_projection"),
    ],
)
def test_a_projector_in_a_list_that_becomes_shorter_is_left_to_the_model(family: str, where: str) -> None:
    def play(scene: Scene) -> list[Any]:
        layers: Any = scene.model
        for name in where.split("."):
            layers = layers[name]
        first = scene.ask(A)
        layer = layers.pop()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "nothing is cached: .* is a missing part")
            without = [scene.ask(A), scene.ask(A)]
        layers.append(layer)
        return [first, *without, scene.ask(A), scene.ask(B), scene.ask(B)]

    assert_alike(family, play)


@pytest.mark.parametrize("family", ["gemma3", "idefics3", "llava", "mistral3", "smolvlm"])
@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_method_that_is_wrapped_again_and_again_is_what_it_wraps(family: str, times: int) -> None:
    def wrapped(method: Callable[..., Any]) -> Callable[..., Any]:
        def again(*args: Any, **kwargs: Any) -> Any:
            return method(*args, **kwargs)

        return again

    tiny, twin, cache = zoo.build(family), zoo.build(family), VisionFeatureCache()
    with attach(tiny.model, tiny.processor, cache) as attached:
        embedded(tiny, prepared(tiny, [A]))
        for _ in range(times):
            for one in (tiny, twin):
                image_processor = one.processor.image_processor
                image_processor.preprocess = wrapped(image_processor.preprocess)
        for image in (A, B, A, B):
            assert same(embedded(tiny, prepared(tiny, [image])), embedded(twin, prepared(twin, [image])))
        assert not attached.opaque
    assert cache.info().hits == 2
