"""Models that change while attached, by the user's hand or their own: they answer as without a cache."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import pytest
import zoo
from harness import greedy, same
from mlx import nn
from mlx.utils import tree_flatten
from mlx_vlm.trainer.peft.lora_layers import LoRALinear
from twins import VARIED, Scene, assert_alike, looking, outcome, played

if TYPE_CHECKING:
    from collections.abc import Callable

A, B, C = zoo.photos()
WIDE, TALL = A.resize((600, 100)), B.resize((100, 600))


def quantised(model: Any, *, language: bool = False, bits: int = 8) -> None:
    """Quantise what can be: of the vision side, or of everything."""

    def fits(path: str, module: Any) -> bool:
        able = hasattr(module, "to_quantized") and getattr(module, "weight", mx.zeros(1)).ndim == 2
        return able and module.weight.shape[-1] % 32 == 0 and (language or "language_model" not in path)

    nn.quantize(model, group_size=32, bits=bits, class_predicate=fits)


@pytest.mark.parametrize("family", zoo.families())
def test_a_vision_side_quantised_while_attached_answers_as_without_a_cache(family: str) -> None:
    def play(scene: Scene) -> list[Any]:
        answers = [scene.ask(A)]
        quantised(scene.model)
        answers += [scene.ask(A), scene.ask(A), scene.ask(B)]
        scene.detach()
        answers += [scene.ask(A)]
        scene.attach()
        return [*answers, scene.ask(A), scene.ask(B)]

    assert_alike(family, play)


@pytest.mark.parametrize("family", VARIED)
def test_what_is_quantised_stays_quantised_and_hits(family: str) -> None:
    def play(scene: Scene) -> list[Any]:
        scene.ask(A)
        quantised(scene.model, language=True)
        scene.ask(A)
        before = scene.encodes()
        answers = [scene.ask(A)]
        assert scene.encodes() == before
        answers.append([type(m).__name__ for _, m in scene.model.named_modules()])
        scene.detach()
        answers.append([type(m).__name__ for _, m in scene.model.named_modules()])
        quantised(scene.model, bits=4)
        return [*answers, [type(m).__name__ for _, m in scene.model.named_modules()], scene.ask(A)]

    assert_alike(family, play)


@pytest.mark.parametrize("family", [*VARIED, "internvl_chat", "phi3_v"])
def test_modules_in_the_place_of_others_are_the_ones_that_answer(family: str) -> None:
    other = zoo.build(family, seed=1).model

    def play(scene: Scene) -> list[Any]:
        answers = [scene.ask(A)]
        own = dict(looking(scene.model))
        for name in own:
            setattr(scene.model, name, getattr(other, name))
            answers += [scene.ask(A), scene.ask(A), scene.ask(B)]
        scene.detach()
        answers += [scene.ask(A)]
        scene.attach()
        for name, child in own.items():
            setattr(scene.model, name, child)
            answers += [scene.ask(A), scene.ask(B)]
        scene.detach()
        return [*answers, scene.ask(A)]

    answers = assert_alike(family, play)
    assert not same(answers[0], answers[1])


def load_weights(model: Any, other: Any) -> None:
    model.load_weights(tree_flatten(other.parameters()))


def load_some(model: Any, other: Any) -> None:
    some = [(n, w) for n, w in tree_flatten(other.parameters()) if "language_model" not in n]
    model.load_weights(some, strict=False)


def update(model: Any, other: Any) -> None:
    model.update(other.parameters())


def update_modules(model: Any, other: Any) -> None:
    model.update_modules(looking(other))


def in_half(model: Any, _: Any) -> None:
    model.set_dtype(mx.float16)


def vision_in_half(model: Any, _: Any) -> None:
    for child in looking(model).values():
        for module in child if isinstance(child, list) else [child]:
            module.set_dtype(mx.float16)


def language_in_half(model: Any, _: Any) -> None:
    model.language_model.set_dtype(mx.float16)


def apply(model: Any, _: Any) -> None:
    model.apply(lambda weight: weight * 1.25)


def one_weight(model: Any, _: Any) -> None:
    """That of the first attention that every image passes."""
    name, layer = next((n, m) for n, m in linears(model) if ".0." in n and "att" in n)
    put(model, name, layer)
    layer.weight = layer.weight * 3


def adapters_fused(model: Any, _: Any) -> None:
    """As an adapter is trained and fused: `Linear`, `LoRALinear`, `Linear` again."""
    for name, layer in linears(model):
        adapter = LoRALinear.from_base(layer, r=2)
        adapter.lora_b = mx.ones_like(adapter.lora_b) * 0.5
        adapter.lora_a = mx.ones_like(adapter.lora_a) * 0.5
        put(model, name, adapter.fuse())


def adapters(model: Any, _: Any) -> None:
    for name, layer in linears(model):
        adapter = LoRALinear.from_base(layer, r=2)
        adapter.lora_b = mx.ones_like(adapter.lora_b) * 0.5
        adapter.lora_a = mx.ones_like(adapter.lora_a) * 0.5
        adapter.eval()
        put(model, name, adapter)


def linears(model: Any) -> list[tuple[str, Any]]:
    children = looking(model)
    return [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name.split(".")[0] in children
    ]


def put(model: Any, path: str, module: Any) -> None:
    *parents, last = path.split(".")
    for step in parents:
        model = model[int(step)] if step.isdigit() else getattr(model, step)
    if last.isdigit():
        model[int(last)] = module
    else:
        setattr(model, last, module)


CHANGES: list[Callable[[Any, Any], None]] = [
    load_weights, load_some, update, update_modules, in_half, vision_in_half, language_in_half, apply, one_weight,
    adapters, adapters_fused,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda c: c.__name__)
@pytest.mark.parametrize("family", ["gemma3", "idefics3", "internvl_chat", "llava", "mistral3", "qwen2_5_vl"])
def test_a_model_changed_while_attached_answers_as_without_a_cache(
    family: str, change: Callable[[Any, Any], None]
) -> None:
    other = zoo.build(family, seed=1).model

    def play(scene: Scene) -> list[Any]:
        answers = [scene.ask(A)]
        between = scene.prepare(A)
        change(scene.model, other)
        answers += [scene.ask(A), scene.ask(A), scene.ask(B)]
        scene.detach()
        answers += [scene.ask(A)]
        scene.attach()
        return [*answers, scene.ask(A), scene.embed(scene.prepare(B)), between and scene.ask(A)]

    answers = assert_alike(family, play)
    assert not same(answers[0], answers[1])


@pytest.mark.parametrize("change", [load_weights, vision_in_half, one_weight, adapters, quantised])
@pytest.mark.parametrize("family", ["gemma3", "idefics3", "llava", "mistral3", "qwen2_5_vl", "qwen3_vl"])
def test_a_change_between_processor_and_model_is_answered_right_or_refused(
    family: str, change: Callable[..., None]
) -> None:
    other = zoo.build(family, seed=1).model

    def play(scene: Scene) -> list[Any]:
        scene.ask(A)
        known, unknown = scene.prepare(A), scene.prepare(B)
        change(scene.model) if change is quantised else change(scene.model, other)
        return [scene.embed(known), scene.embed(unknown)]

    def later(scene: Scene) -> list[Any]:
        play(scene)
        return [scene.ask(A), scene.ask(B), scene.ask(A)]

    assert_alike(family, play, refusals=True)
    assert_alike(family, later)


# What a model does to itself ----------------------------------------------------------------------


@pytest.mark.parametrize("family", zoo.families())
def test_text_and_images_in_turn_answer_as_without_a_cache(family: str) -> None:
    """A text-only prompt, a wide image, a tall one: each may make a model write into itself."""

    def play(scene: Scene) -> list[Any]:
        order: list[tuple[Any, ...]] = [(A,), (), (A,), (WIDE,), (A,), (TALL,), (A,), (WIDE,), ()]
        return [scene.ask(*images) for images in order]

    plain, ours = played(family, play)
    wrong = [n for n, (want, got) in enumerate(zip(plain, ours, strict=True)) if not alike(got, want)]
    assert wrong == []


def alike(got: Any, want: Any) -> bool:
    return type(got) is type(want) if isinstance(want, Exception) else same(got, want)


@pytest.mark.parametrize(
    "family", ["gemma4_unified", "minicpmo", "gemma3", "llava", "mistral3", "qwen2_5_vl"]
)
def test_tokens_of_text_and_images_in_turn_are_those_without_a_cache(family: str) -> None:
    def play(scene: Scene) -> list[Any]:
        order: list[list[Any]] = [[A], [], [A], [B], [], [A]]
        return [outcome(lambda i=i: greedy(scene.tiny, i)) for i in order]

    assert_alike(family, play)


@pytest.mark.parametrize("resolution", [256, None])
def test_a_position_table_that_grew_is_no_other_model(resolution: int | None) -> None:
    """MiniCPM-o's, for an image of more patches a side than it has met."""

    def play(scene: Scene) -> list[Any]:
        if resolution:
            scene.processor.image_processor.scale_resolution = resolution
        answers = [scene.ask(A), scene.ask(WIDE)]
        before = scene.encodes()
        answers += [scene.ask(A), scene.ask(WIDE)]
        assert scene.encodes() == before
        answers += [scene.ask(TALL), scene.ask(A)]
        assert (max(scene.model.resampler.max_size) > 70) == bool(resolution)
        return answers

    assert_alike("minicpmo", play)


@pytest.mark.parametrize("family", ["gemma4_unified", "gemma4", "gemma3", "llava", "minicpmo", "qwen2_5_vl"])
def test_what_was_known_hits_after_the_model_changed_itself(family: str) -> None:
    def play(scene: Scene) -> list[Any]:
        scene.ask(A)
        scene.ask()
        outcome(lambda: greedy(scene.tiny, []))
        outcome(lambda: greedy(scene.tiny, [A]))
        before = scene.encodes()
        answer = scene.ask(A)
        assert scene.encodes() == before
        return [answer]

    assert_alike(family, play)


def test_a_deep_copy_of_weights_put_back_is_the_same_model() -> None:
    def play(scene: Scene) -> list[Any]:
        weights = copy.deepcopy(dict(tree_flatten(scene.model.parameters())))
        answers = [scene.ask(A)]
        scene.model.load_weights(list(weights.items()))
        before = scene.encodes()
        answers.append(scene.ask(A))
        assert scene.encodes() == before
        return answers

    assert_alike("llava", play)
