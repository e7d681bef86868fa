"""A vision side that trains, as a whole or in part: nothing is stored, nothing is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import zoo
from harness import same
from mlx import nn
from twins import Scene, assert_alike, looking, played

if TYPE_CHECKING:
    from collections.abc import Callable

A, B, C = zoo.photos()
FAMILIES = ["gemma3", "idefics3", "internvl_chat", "llava", "minicpmo", "mistral3", "qwen2_5_vl", "qwen3_vl"]


class Louder(nn.Linear):
    """A layer that shows in its output that it trains."""

    def __call__(self, x: Any) -> Any:
        y = super().__call__(x)
        return y * 1.5 if self.training else y


def layers(model: Any) -> list[Any]:
    """The linear layers of the vision side, from the pixels to the language model."""
    return [
        module
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear) and path.split(".")[0] in looking(model)
    ]


def audible(scene: Scene) -> Scene:
    """The scene, with layers that show that they train."""
    scene.detach()
    for layer in layers(scene.model):
        layer.__class__ = Louder
    scene.attach()
    return scene


def the_model(model: Any) -> list[Any]:
    return [model]


def the_tower(model: Any) -> list[Any]:
    return [next(child for name, child in looking(model).items() if name.startswith("vision"))]


def the_rest(model: Any) -> list[Any]:
    """The projector, or the tower's own merger."""
    beside = [child for name, child in looking(model).items() if not name.startswith("vision")]
    flat = [m for child in beside for m in (child if isinstance(child, list) else [child])]
    return flat or [model.vision_tower.merger]


def the_first_layer(model: Any) -> list[Any]:
    return layers(model)[:1]


def the_last_layer(model: Any) -> list[Any]:
    return layers(model)[-1:]


def the_last_layer_alone_of_the_model_in_training(model: Any) -> list[Any]:
    """As `model.train()` and then `freeze`-like `eval()` of everything but a layer."""
    model.train()
    model.eval()
    return layers(model)[-1:]


PARTS: list[Callable[[Any], list[Any]]] = [
    the_model,
    the_tower,
    the_rest,
    the_first_layer,
    the_last_layer,
    the_last_layer_alone_of_the_model_in_training,
]


def train(model: Any, part: Callable[[Any], list[Any]], *, mode: bool = True) -> None:
    for module in part(model):
        module.train(mode)


@pytest.mark.parametrize("with_processor", [True, False], ids=["processor", "prepared"])
@pytest.mark.parametrize("part", PARTS, ids=lambda p: p.__name__)
@pytest.mark.parametrize("family", FAMILIES)
def test_what_trains_answers_as_without_a_cache(
    family: str, part: Callable[[Any], list[Any]], *, with_processor: bool
) -> None:
    def play(scene: Scene) -> list[Any]:
        audible(scene)
        train(scene.model, part)
        answers = [scene.ask(A), scene.ask(A)]
        train(scene.model, part, mode=False)
        answers += [scene.ask(A), scene.ask(A)]
        train(scene.model, part)
        answers += [scene.ask(A), scene.ask(B)]
        train(scene.model, part, mode=False)
        answers += [scene.ask(A), scene.ask(B)]
        scene.detach()
        train(scene.model, part)
        scene.attach()
        answers += [scene.ask(A), scene.ask(C)]
        train(scene.model, part, mode=False)
        return [*answers, scene.ask(A), scene.ask(C)]

    answers = assert_alike(family, play, with_processor=with_processor)
    if (family, part) != ("gemma3", the_rest):  # it has no linear layer there
        assert not same(answers[0], answers[2])


@pytest.mark.parametrize("part", PARTS, ids=lambda p: p.__name__)
@pytest.mark.parametrize("family", FAMILIES)
def test_training_that_begins_or_ends_between_processor_and_model_counts(
    family: str, part: Callable[[Any], list[Any]]
) -> None:
    def play(scene: Scene) -> list[Any]:
        audible(scene)
        answers = []
        for _ in range(2):  # unknown, then known
            inputs = scene.prepare(A)
            train(scene.model, part)
            answers.append(scene.embed(inputs))
            inputs = scene.prepare(B)
            train(scene.model, part, mode=False)
            answers += [scene.embed(inputs), scene.ask(A), scene.ask(B)]
        return answers

    assert_alike(family, play)


@pytest.mark.parametrize("part", PARTS, ids=lambda p: p.__name__)
@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_is_stored_or_given_while_a_part_trains(
    family: str, part: Callable[[Any], list[Any]]
) -> None:
    counts = []

    def play(scene: Scene) -> list[Any]:
        if scene.cache is None:
            return []
        train(scene.model, part)
        scene.ask(A)
        counts.append(scene.cache.info().puts)
        train(scene.model, part, mode=False)
        scene.ask(A)
        train(scene.model, part)
        before = scene.cache.info()
        scene.ask(A)
        scene.ask(B)
        counts.append(scene.cache.info().puts - before.puts)
        counts.append(scene.cache.info().hits - before.hits)
        train(scene.model, part, mode=False)
        encodes = scene.encodes()
        scene.ask(A)
        counts.append(scene.encodes() - encodes)  # what was known before is known again
        return []

    played(family, play)
    assert counts == [0, 0, 0, 0]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_language_model_that_trains_is_given_right_features(family: str) -> None:
    def play(scene: Scene) -> list[Any]:
        audible(scene)
        answers = [scene.ask(A)]
        scene.model.language_model.train()
        answers += [scene.ask(A), scene.ask(B)]
        scene.model.language_model.eval()
        return [*answers, scene.ask(A), scene.ask(B)]

    assert_alike(family, play)


class Follows(nn.Module):
    """A projector that reads the mode of a module that is no part of the vision side."""

    def __init__(self, inner: Any, other: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self._gain = lambda: 2.0 if other.training else 1.0

    def __call__(self, *args: Any) -> Any:
        return self.inner(*args) * self._gain()


@pytest.mark.parametrize("family", ["aya_vision", "gemma3", "kimi_vl", "lfm2_vl", "llava", "paligemma"])
def test_the_mode_of_any_module_that_features_are_made_by_counts(family: str) -> None:
    def play(scene: Scene) -> list[Any]:
        model = scene.model
        model.multi_modal_projector = Follows(model.multi_modal_projector, model.language_model)
        model.eval()
        answers = [scene.ask(A), scene.ask(A)]
        model.language_model.train()
        answers += [scene.ask(A), scene.ask(A)]
        model.language_model.eval()
        return [*answers, scene.ask(A)]

    answers = assert_alike(family, play)
    assert not same(answers[1], answers[2])


class Around(nn.Module):
    """A module around another one, which shows in its output that it trains."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        y = self.inner(*args, **kwargs)
        return y * 1.5 if self.training else y


class AroundByAnother(Around):
    """The same, by a function outside."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return louder(self, self.inner(*args, **kwargs))


def louder(module: Any, y: Any) -> Any:
    return y * 1.5 if module.training else y


@pytest.mark.parametrize("kind", [Around, AroundByAnother])
@pytest.mark.parametrize("family", ["gemma3", "idefics3", "llava", "mistral3", "paligemma"])
def test_a_new_module_answers_as_it_trains_until_it_is_set_to_eval(family: str, kind: type) -> None:
    def play(scene: Scene) -> list[Any]:
        answers = [scene.ask(A)]
        name = next(name for name in ("multi_modal_projector", "connector") if name in scene.model)
        module = kind(scene.model[name])
        setattr(scene.model, name, module)  # as MLX begins every module: in training mode
        answers += [scene.ask(A), scene.ask(A), scene.ask(B)]
        module.eval()
        answers += [scene.ask(A), scene.ask(B)]
        module._training = True
        return [*answers, scene.ask(A)]

    answers = assert_alike(family, play)
    assert not same(answers[1], answers[4])


@pytest.mark.parametrize("way", ["the model", "the tower", "the norms"])
def test_statistics_that_training_moved_are_other_weights(way: str) -> None:
    def play(scene: Scene) -> list[Any]:
        tower = scene.model.vision_tower
        norms = [module for module in tower.modules() if isinstance(module, nn.BatchNorm)]
        assert norms
        answers = [scene.ask(A)]
        for module in {"the model": [scene.model], "the tower": [tower], "the norms": norms}[way]:
            module.train()
        answers.append(scene.ask(B))
        scene.model.eval()
        return [*answers, scene.ask(A)]

    first, _, last = assert_alike("fastvlm", play)
    assert not same(first, last)
