"""Weights that are written into while attached: the same objects as before, and other features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mlx.core as mx
import pytest
import zoo
from harness import greedy, same
from mlx.utils import tree_flatten
from twins import VARIED, Scene, assert_alike

from visioncache import VisionFeatureCache
from visioncache.vlm.attach import attach
from visioncache.vlm.scope.written import is_written, twin, unwritten

if TYPE_CHECKING:
    from collections.abc import Callable

A, B, _ = zoo.photos()


def of_vision(model: Any) -> dict[str, Any]:
    """The largest array of every part that isn't the language model."""
    parts: dict[str, Any] = {}
    for path, array in tree_flatten(model.parameters()):
        part = path.split(".")[0]
        if part != "language_model" and mx.issubdtype(array.dtype, mx.floating):
            parts[part] = max(parts.get(part, array), array, key=lambda one: one.size)
    return parts


def added(weight: Any) -> None:
    weight += 0.5


def scaled(weight: Any) -> None:
    weight *= 2


def one_row(weight: Any) -> None:
    weight[0] = 1


def one_number(weight: Any) -> None:
    weight[(0,) * weight.ndim] = 7


WRITES = (added, scaled, one_row, one_number)


@pytest.mark.parametrize("family", zoo.families())
def test_a_weight_that_is_written_into_answers_as_without_a_cache(family: str) -> None:
    def play(scene: Scene) -> list[Any]:
        answers = [scene.ask(A)]
        for weight in of_vision(scene.model).values():
            scaled(weight)
            answers.append(scene.ask(A))
        return [*answers, scene.ask(A)]

    assert_alike(family, play)


@pytest.mark.parametrize("family", VARIED)
@pytest.mark.parametrize("write", WRITES)
def test_whatever_is_written_is_noticed(family: str, write: Callable[[Any], None]) -> None:
    def play(scene: Scene) -> list[Any]:
        answers = [scene.ask(A, B)]
        weight = max(of_vision(scene.model).values(), key=lambda one: one.size)
        before = mx.array(weight)
        write(weight)
        answers += [scene.ask(A, B), scene.ask(A)]
        weight[...] = before  # as it was
        return [*answers, scene.ask(A, B)]

    answers = assert_alike(family, play)
    assert not same(answers[0], answers[1])
    assert same(answers[0], answers[3])


@pytest.mark.parametrize("family", ["gemma3", "llava", "qwen2_5_vl", "qwen3_vl"])
def test_a_module_that_adds_to_its_own_weight_is_noticed(family: str) -> None:
    def play(scene: Scene) -> list[Any]:
        answers = [scene.ask(A)]
        modules = [m for _, m in scene.model.named_modules() if "weight" in m and m.weight.ndim > 1]
        for module in modules:
            module.weight += 0.01  # which sets the attribute to the same object again
        return [*answers, scene.ask(A), scene.ask(A)]

    answers = assert_alike(family, play)
    assert not same(answers[0], answers[1])


@pytest.mark.parametrize("family", ["gemma3", "llava", "qwen2_5_vl", "qwen3_vl"])
def test_keys_and_values_of_other_weights_are_not_continued(family: str) -> None:
    tiny = zoo.build(family)

    def write() -> None:
        for _, weight in tree_flatten(tiny.model.language_model.parameters()):
            scaled(weight)

    with attach(tiny.model, tiny.processor, VisionFeatureCache(), prefixes="1 GiB") as attached:
        first = greedy(tiny, [A])
        assert same(greedy(tiny, [A]), first)
        write()
        ours = greedy(tiny, [A])
        with attached.bypass():
            assert same(greedy(tiny, [A]), ours)
        assert same(greedy(tiny, [A]), ours)


def test_a_hit_follows_where_nothing_is_written() -> None:
    tiny = zoo.build("qwen2_5_vl")
    cache = VisionFeatureCache()
    with attach(tiny.model, tiny.processor, cache):
        greedy(tiny, [A])
        of_vision(tiny.model)["vision_tower"][0] = 1
        greedy(tiny, [A])
        assert (cache.info().hits, cache.info().misses) == (0, 2)
        greedy(tiny, [A])
        assert (cache.info().hits, cache.info().misses) == (1, 2)


LAYOUTS: dict[str, Callable[[], Any]] = {
    "a row after the other": lambda: mx.arange(24.0).reshape(2, 3, 4),
    "transposed": lambda: mx.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1),
    "repeated": lambda: mx.broadcast_to(mx.arange(4.0), (3, 4)),
    "half": lambda: mx.arange(6.0).astype(mx.bfloat16),
    "integers": lambda: mx.arange(6),
    "a slice": lambda: mx.arange(6.0)[2:],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("write", WRITES)
def test_arrays_of_any_layout_are_seen_written(layout: str, write: Callable[[Any], None]) -> None:
    array, other = LAYOUTS[layout](), mx.zeros((3, 3))
    mx.eval(array, other)
    its_twin = twin(array)
    check = unwritten([(other, twin(other)), (array, its_twin)])
    assert [check(), is_written(array, its_twin)] == [True, False]
    if write is added and layout == "integers":
        array += 1
    else:
        write(array)
    assert [check(), is_written(array, its_twin)] == [False, True]
    assert same(its_twin, LAYOUTS[layout]())
