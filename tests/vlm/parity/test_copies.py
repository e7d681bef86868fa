"""Copies of what is attached: each answers as itself, and the original stays right."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import pytest
import zoo
from harness import embedded, prepared, same
from mlx.utils import tree_flatten, tree_map
from twins import VARIED, Scene, assert_alike, has_nan, looking, played, right

from visioncache import VisionFeatureCache
from visioncache.vlm import attach

if TYPE_CHECKING:
    from collections.abc import Callable

A, B, C = zoo.photos()
MODELS = ["idefics3", "llava", "minicpmo", "mistral3", "qwen2_5_vl", "qwen3_vl"]
"""Of `VARIED`, those that can be copied (Gemma 3 holds a compiled function) and are quick."""


def made_anew(model: Any) -> Any:
    """A new model of the same class, over the same config and weights."""
    made = type(model)(model.config)
    made.load_weights(tree_flatten(model.parameters()), strict=False)
    return made.eval()


COPIERS: list[Callable[[Any], Any]] = [copy.deepcopy, copy.copy, made_anew]
BOTH: list[Callable[[Any], Any]] = [copy.deepcopy, copy.copy]


def look_otherwise(model: Any, gain: float = 1.5) -> None:
    """Other weights on the vision side, in modules of the model's own."""
    for name, child in looking(model).items():
        changed = copy.deepcopy(child)
        changed = changed if isinstance(changed, list) else [changed]
        for module in changed:
            module.update(tree_map(lambda weight: weight * gain, module.parameters()))
        setattr(model, name, changed if isinstance(child, list) else changed[0])


def other_settings(processor: Any) -> None:
    """Other settings of an image processor, or of a processor's."""
    images = getattr(processor, "image_processor", processor)
    name = "image_mean" if hasattr(images, "image_mean") else "mean"
    value = getattr(images, name)
    setattr(images, name, type(value)([0.1, 0.2, 0.3]) if isinstance(value, (list, tuple)) else value * 0.5)


# Models -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("copier", COPIERS, ids=lambda c: c.__name__)
@pytest.mark.parametrize("family", MODELS)
def test_a_copied_model_with_other_weights_answers_as_itself(
    family: str, copier: Callable[[Any], Any]
) -> None:
    def play(scene: Scene) -> list[Any]:
        answers = [scene.ask(A)]
        copied = copier(scene.model)
        answers += [scene.ask(A, model=copied), scene.ask(A)]
        look_otherwise(copied)
        answers += [scene.ask(A, model=copied), scene.ask(B, model=copied), scene.ask(A), scene.ask(B)]
        scene.detach()
        answers += [scene.ask(A, model=copied), scene.ask(A)]
        scene.attach()
        return [*answers, scene.ask(A, model=copied), scene.ask(A)]

    answers = assert_alike(family, play)
    assert not same(answers[3], answers[5])  # else a mix-up would not show
    assert not has_nan(answers)


@pytest.mark.parametrize("copier", COPIERS, ids=lambda c: c.__name__)
@pytest.mark.parametrize("family", MODELS)
def test_inputs_of_the_original_answer_right_in_a_copy_too(family: str, copier: Callable[[Any], Any]) -> None:
    def play(scene: Scene) -> list[Any]:
        miss = scene.prepare(A)
        answers = [scene.embed(miss)]
        copied = copier(scene.model)
        look_otherwise(copied)
        hit = scene.prepare(A)
        return [*answers, *(scene.embed(i, model=m) for i in (miss, hit) for m in (copied, scene.model))]

    assert_alike(family, play, refusals=True)


@pytest.mark.parametrize("copier", COPIERS, ids=lambda c: c.__name__)
@pytest.mark.parametrize("family", MODELS)
def test_a_copied_model_is_attached_beside_the_original(family: str, copier: Callable[[Any], Any]) -> None:
    def play(scene: Scene) -> list[Any]:
        answers = [scene.ask(A)]
        other = copier(scene.model)
        look_otherwise(other)
        processor = copy.deepcopy(scene.processor)
        beside = Scene(
            scene.using(other, processor), scene.cache, with_processor=True
        )  # of one cache: scopes keep the two apart
        for _ in range(2):
            answers += [beside.ask(A), scene.ask(A), beside.ask(A, B), scene.ask(A)]
        scene.detach()
        answers += [beside.ask(A), scene.ask(A)]
        scene.attach()
        answers += [beside.ask(A), scene.ask(A)]
        beside.detach()
        return [*answers, beside.ask(A), scene.ask(A)]

    answers = [answer for n, answer in enumerate(zip(*played(family, play), strict=True)) if n not in {3, 7}]
    assert all(right(ours, plain) for plain, ours in answers)  # two images in a request: other last bits
    assert not same(answers[0][0], answers[1][0])


@pytest.mark.parametrize("copier", BOTH, ids=lambda c: c.__name__)
@pytest.mark.parametrize("family", MODELS)
def test_a_model_copied_while_attached_is_attached_when_the_original_is_not(
    family: str, copier: Callable[[Any], Any]
) -> None:
    tiny, cache = zoo.build(family), VisionFeatureCache()
    plain = embedded(tiny, prepared(tiny, [A]))
    with attach(tiny.model, tiny.processor, cache):
        embedded(tiny, prepared(tiny, [A]))
        model, processor = copier(tiny.model), copier(tiny.processor)
    copied = zoo.Tiny(model, processor, tiny.prompt)
    assert type(model) is type(tiny.model)
    assert type(processor) is type(tiny.processor)
    assert same(embedded(copied, prepared(copied, [A])), plain)
    with attach(model, processor, VisionFeatureCache()) as attached:
        assert same(embedded(copied, prepared(copied, [A])), plain)
        assert same(embedded(copied, prepared(copied, [A])), plain)
        assert attached.stages.totals().counts["tower"] == tiny.tiles
    assert same(embedded(tiny, prepared(tiny, [A])), plain)


@pytest.mark.parametrize("family", MODELS)
def test_the_original_still_hits_after_it_was_copied(family: str) -> None:
    tiny = zoo.build(family)
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attached:
        miss = embedded(tiny, prepared(tiny, [A]))
        copies = [copier(thing) for copier in BOTH for thing in (tiny.model, tiny.processor)]
        before = attached.stages.totals()
        assert same(embedded(tiny, prepared(tiny, [A])), miss)
        assert attached.stages.totals().since(before).counts["tower"] == 0
        del copies


@pytest.mark.parametrize("family", MODELS)
def test_a_copy_of_a_copy_answers_as_itself(family: str) -> None:
    def play(scene: Scene) -> list[Any]:
        scene.ask(A)
        once = copy.deepcopy(scene.model)
        twice = copy.deepcopy(once)
        look_otherwise(twice)
        scene.detach()
        thrice = copy.deepcopy(twice)
        return [scene.ask(A, model=m) for m in (once, twice, thrice, scene.model)]

    answers = assert_alike(family, play)
    assert not same(answers[0], answers[1])


@pytest.mark.parametrize("family", MODELS)
def test_a_copy_and_its_original_answer_right_from_two_threads(family: str) -> None:
    def play(scene: Scene) -> list[Any]:
        copied = copy.deepcopy(scene.model)
        look_otherwise(copied)
        for model in (copied, scene.model):  # what is left lazy can't be evaluated in another thread
            mx.eval(model.parameters())
            scene.ask(A, model=model)
        with ThreadPoolExecutor(2) as pool:
            asked = [pool.submit(scene.ask, image, model=m) for image in (A, B, A) for m in (copied, None)]
            return [future.result() for future in asked]

    assert_alike(family, play)


# Modules of the model -----------------------------------------------------------------------------


@pytest.mark.parametrize("copier", BOTH, ids=lambda c: c.__name__)
@pytest.mark.parametrize("family", MODELS)
def test_a_changed_copy_of_a_module_in_the_originals_place_is_another_module(
    family: str, copier: Callable[[Any], Any]
) -> None:
    def play(scene: Scene) -> list[Any]:
        answers = [scene.ask(A)]
        for name, child in looking(scene.model).items():
            changed = copier(child)
            setattr(scene.model, name, changed)
            answers.append(scene.ask(A))
            for module in [changed]:
                own = tree_map(lambda weight: weight * 1.5, module.parameters())
                module.update(own)
            answers += [scene.ask(A), scene.ask(B)]
            kept = tree_map(lambda weight: weight / 1.5, changed.parameters())
            scene.detach()
            answers.append(scene.ask(A))
            scene.attach()
            answers += [scene.ask(A), scene.ask(B)]
            changed.update(kept)
            setattr(scene.model, name, child)
            answers += [scene.ask(A), scene.ask(B)]
        scene.detach()
        return [*answers, scene.ask(A)]

    answers = assert_alike(family, play)
    assert not same(answers[0], answers[2])


@pytest.mark.parametrize("family", MODELS)
def test_a_module_copied_while_attached_is_its_own_class_when_the_model_is_not(family: str) -> None:
    tiny = zoo.build(family)
    with attach(tiny.model, tiny.processor, VisionFeatureCache()):
        embedded(tiny, prepared(tiny, [A]))
        copies = [(path, copy.deepcopy(module)) for path, module in tiny.model.named_modules()]
    own = dict(tiny.model.named_modules())
    assert [path for path, copied in copies if type(copied) is not type(own[path])] == []


@pytest.mark.parametrize("family", MODELS)
def test_a_tower_lent_to_another_model_answers_as_itself(family: str) -> None:
    def play(scene: Scene) -> list[Any]:
        scene.ask(A)
        other = zoo.build(family, seed=1)
        for name, child in looking(scene.model).items():
            setattr(other.model, name, child)
        lent = Scene(other, None, with_processor=True)
        answers = [lent.ask(A), lent.ask(A), scene.ask(A)]
        scene.detach()
        return [*answers, lent.ask(A)]

    assert_alike(family, play)


# Processors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("copier", BOTH, ids=lambda c: c.__name__)
@pytest.mark.parametrize("family", VARIED)
def test_a_copied_processor_with_other_settings_prepares_as_itself(
    family: str, copier: Callable[[Any], Any]
) -> None:
    def play(scene: Scene) -> list[Any]:
        answers = [scene.ask(A)]
        copied = copier(scene.processor)
        answers += [scene.ask(A, processor=copied), scene.ask(A)]
        copied.image_processor = copier(scene.processor.image_processor)
        other_settings(copied)
        answers += [scene.ask(A, processor=copied), scene.ask(B, processor=copied), scene.ask(A)]
        scene.detach()
        answers += [scene.ask(A, processor=copied), scene.ask(A)]
        scene.attach()
        return [*answers, scene.ask(A, processor=copied), scene.ask(A)]

    answers = assert_alike(family, play)
    assert not same(answers[3], answers[5])


@pytest.mark.parametrize("copier", BOTH, ids=lambda c: c.__name__)
@pytest.mark.parametrize("family", VARIED)
def test_a_copied_processor_prepares_real_pixels_after_detach(
    family: str, copier: Callable[[Any], Any]
) -> None:
    def play(scene: Scene) -> list[Any]:
        scene.ask(A)
        copied = copier(scene.processor)
        scene.ask(A, processor=copied)
        scene.detach()
        return [scene.prepare(A, processor=copied), scene.prepare(B, processor=copied), scene.prepare(A)]

    assert_alike(family, play)


@pytest.mark.parametrize("copier", BOTH, ids=lambda c: c.__name__)
@pytest.mark.parametrize("family", VARIED)
def test_a_changed_copy_of_the_image_processor_in_the_originals_place_counts(
    family: str, copier: Callable[[Any], Any]
) -> None:
    def play(scene: Scene) -> list[Any]:
        answers = [scene.ask(A)]
        original = scene.processor.image_processor
        changed = copier(original)
        scene.processor.image_processor = changed
        answers.append(scene.ask(A))
        other_settings(changed)
        answers += [scene.ask(A), scene.ask(B)]
        scene.processor.image_processor = original
        answers += [scene.ask(A), scene.ask(B)]
        scene.processor.image_processor = changed
        scene.detach()
        answers += [scene.ask(A), scene.prepare(A)]
        scene.attach()
        answers.append(scene.ask(A))
        scene.processor.image_processor = original
        answers.append(scene.ask(A))
        scene.detach()
        return [*answers, scene.ask(A), scene.prepare(A)]

    answers = assert_alike(family, play)
    assert not same(answers[0], answers[2])


@pytest.mark.parametrize("copier", BOTH, ids=lambda c: c.__name__)
@pytest.mark.parametrize("family", VARIED)
def test_a_copied_tokenizer_encodes_as_the_original(family: str, copier: Callable[[Any], Any]) -> None:
    def play(scene: Scene) -> list[Any]:
        answers = [scene.ask(A)]
        original = scene.processor.tokenizer
        copied = copier(original)
        text = scene.tiny.prompt(1) * 40

        def encoded() -> Any:
            return [t(text)["input_ids"] for t in (original, copied)]

        answers.append(encoded())
        scene.processor.tokenizer = copied
        answers += [scene.ask(A), scene.ask(B), encoded()]
        copied.add_tokens(["differs"])
        answers += [scene.prepare(A)["input_ids"], encoded()]
        scene.detach()
        answers += [scene.prepare(A), encoded()]
        scene.processor.tokenizer = original
        answers += [scene.prepare(A), encoded()]
        scene.attach()
        return [*answers, scene.prepare(A)["input_ids"], encoded()]

    assert_alike(family, play)


@pytest.mark.parametrize("family", MODELS)
def test_a_copied_processor_with_a_copied_model_is_another_pair(family: str) -> None:
    def play(scene: Scene) -> list[Any]:
        scene.ask(A)
        model, processor = copy.deepcopy(scene.model), copy.deepcopy(scene.processor)
        other_settings(processor)
        look_otherwise(model)
        pairs = [(None, None), (model, processor), (None, processor), (model, None)]
        answers = [scene.ask(A, model=m, processor=p) for _ in range(2) for m, p in pairs]
        scene.detach()
        return answers + [scene.ask(A, model=m, processor=p) for m, p in pairs]

    assert_alike(family, play, refusals=True)
