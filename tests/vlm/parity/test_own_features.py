"""A caller's own features, steered or ablated: they are what the model uses, whatever is cached."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mlx.core as mx
import mlx_vlm
import pytest
import zoo
from harness import film_and_picture, greedy, same
from mlx.utils import tree_map
from mlx_vlm.tokenizer_utils import NaiveStreamingDetokenizer
from mlx_vlm.utils import StoppingCriteria
from twins import Scene, assert_alike, outcome

from visioncache import VisionFeatureCache
from visioncache.sizes import leaves
from visioncache.vlm import attach

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

A, B, C = zoo.photos()
FAMILIES = ["gemma3", "idefics3", "llava", "llava_next", "mistral3", "paligemma", "qwen2_5_vl", "qwen3_vl"]
"""Families that take `cached_image_features`."""
FILMS = ["qwen2_5_vl", "qwen2_vl", "qwen3_vl", "glm4v", "muse_glimmer"]
EDITS: dict[str, Callable[[mx.array], mx.array]] = {
    "as they are": lambda f: f,
    "ablated": lambda f: f * 0,
    "steered": lambda f: f + 0.25,
    "reversed": lambda f: f[..., ::-1],
}


def features(family: str, *images: Any) -> Any:
    """The features of images, as an identical model gives them."""
    tiny = zoo.build(family)
    cache = VisionFeatureCache()
    with attach(tiny.model, tiny.processor, cache):
        scene = Scene(tiny, None, with_processor=True)
        for image in images:
            scene.ask(image)
    held = [next(iter(leaves(cache.peek(key)))) for key in cache.keys()]
    return held[0] if len(held) == 1 else mx.concatenate([f.reshape(-1, f.shape[-1]) for f in held])


@pytest.mark.parametrize("with_processor", [True, False], ids=["processor", "prepared"])
@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_callers_own_features_are_what_the_model_uses(
    family: str, edit: str, *, with_processor: bool
) -> None:
    own = tree_map(EDITS[edit], features(family, A))

    def play(scene: Scene) -> list[Any]:
        answers = []
        for _ in range(2):  # unknown, then known
            answers.append(scene.embed({**scene.prepare(A), "cached_image_features": own}))
            answers.append(scene.embed({**scene.prepare(B), "cached_image_features": own}))
            answers.append(scene.embed({**scene.prepare(A), "cached_image_features": None}))
            answers += [scene.ask(A), scene.ask(B)]
        return answers

    answers = assert_alike(family, play, with_processor=with_processor)
    assert not isinstance(answers[0], Exception)
    if edit != "as they are":
        assert not same(answers[0], answers[3])


@pytest.mark.parametrize("family", FAMILIES)
def test_own_features_without_pixels_are_as_without_a_cache(family: str) -> None:
    own = features(family, A) * 0

    def play(scene: Scene) -> list[Any]:
        scene.ask(A)
        inputs = scene.prepare(A)
        inputs.pop("pixel_values")
        return [scene.embed({**inputs, "cached_image_features": own}), scene.ask(A)]

    assert_alike(family, play)


@pytest.mark.parametrize("family", ["gemma3", "llava", "mistral3", "qwen2_5_vl", "qwen3_vl"])
def test_own_features_of_several_images_are_what_the_model_uses(family: str) -> None:
    own = features(family, A, B) + 0.5

    def play(scene: Scene) -> list[Any]:
        answers = []
        for _ in range(2):
            answers.append(scene.embed({**scene.prepare(A, B), "cached_image_features": own}))
            scene.ask(A, B)
        return [*answers, scene.ask(A)]

    assert_alike(family, play)


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_of_own_features_are_those_without_a_cache(family: str) -> None:
    own = features(family, A) * -3

    def play(scene: Scene) -> list[Any]:
        return [
            outcome(lambda o=o, i=i: greedy(scene.tiny, [i], **o))
            for _ in range(2)
            for o in ({}, {"cached_image_features": own})
            for i in (A, B)
        ]

    assert_alike(family, play)


@pytest.mark.parametrize("family", FILMS)
def test_own_features_of_a_film_are_what_the_model_uses(family: str) -> None:
    own = features(family, B)

    def play(scene: Scene) -> list[Any]:
        scene.detach()
        film, both = film_and_picture(scene.tiny)
        scene.attach()
        answers = [scene.embed(film)]
        for edit in EDITS.values():
            given = {"cached_image_features": edit(own)}
            answers += [scene.embed({**film, **given}), scene.embed({**both, **given}), scene.embed(film)]
        return answers

    assert_alike(family, play, with_processor=False)


@pytest.mark.parametrize("family", ["gemma3", "llava", "mistral3", "paligemma", "qwen2_5_vl"])
def test_what_lies_in_a_callers_own_mlx_vlm_cache_is_used(family: str, tmp_path: Path) -> None:
    """As someone does who steers the features of an image through `vision_cache=`."""
    path = str(tmp_path / "a.png")
    A.save(path)
    own = features(family, A) * -3

    def play(scene: Scene) -> list[Any]:
        tokenizer = scene.processor.tokenizer
        scene.processor.detokenizer = NaiveStreamingDetokenizer(tokenizer)
        tokenizer.stopping_criteria = StoppingCriteria([], tokenizer)
        theirs = mlx_vlm.VisionFeatureCache()
        theirs.put([path], own)
        theirs.put(path, own)

        def ask(**options: Any) -> list[int]:
            steps = mlx_vlm.stream_generate(
                scene.model, scene.processor, scene.tiny.prompt(1), image=[path], max_tokens=4,
                temperature=0.0, **options,
            )  # fmt: skip
            return [step.token for step in steps]

        plain, steered = (outcome(ask), outcome(lambda: ask(vision_cache=theirs)))
        return [plain, steered, outcome(ask), outcome(lambda: ask(vision_cache=theirs))]

    answers = assert_alike(family, play)
    assert not isinstance(answers[0], Exception)
