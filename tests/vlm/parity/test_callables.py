"""Anything callable in the place of a model's module: it answers as without a cache, cached or not."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import pytest
import zoo
from harness import embedded, prepared, same
from twins import Scene, assert_alike, outcome

from visioncache import VisionFeatureCache
from visioncache.vlm import attach
from visioncache.vlm.scope.described import warn_once

if TYPE_CHECKING:
    from collections.abc import Callable

A, B, _ = zoo.photos()
WHERE = {
    "gemma3": "multi_modal_projector",
    "idefics3": "connector",
    "llava": "multi_modal_projector",
    "mistral3": "multi_modal_projector",
    "paligemma": "multi_modal_projector",
}
"""The module of a family that makes features last."""


class Slotted:
    """Something callable that has no attributes of its own."""

    __slots__ = ("inner",)

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.inner(*args, **kwargs) * 0.5


def a_function(module: Any) -> Any:
    return lambda *args, **kwargs: module(*args, **kwargs) * 0.5


def a_method(module: Any) -> Any:
    return Slotted(module).__call__


MADE: list[Callable[[Any], Any]] = [a_function, a_method, Slotted, functools.partial, mx.compile]


@pytest.mark.filterwarnings("ignore:nothing is cached")
@pytest.mark.parametrize("made", MADE, ids=lambda made: getattr(made, "__name__", str(made)))
@pytest.mark.parametrize("family", WHERE)
def test_something_callable_in_a_modules_place_is_what_is_called(
    family: str, made: Callable[[Any], Any]
) -> None:
    def play(scene: Scene) -> list[Any]:
        answers, module = [scene.ask(A)], scene.model[WHERE[family]]
        known = scene.prepare(A)
        setattr(scene.model, WHERE[family], made(module))
        answers += [outcome(lambda: scene.embed(known)), scene.ask(A), scene.ask(A), scene.ask(B)]
        scene.detach()
        answers.append(scene.ask(A))
        scene.attach()
        answers += [scene.ask(A), scene.ask(A)]
        setattr(scene.model, WHERE[family], module)
        return [*answers, scene.ask(A), scene.ask(A), scene.ask(B)]

    assert_alike(family, play, refusals=True)


@pytest.mark.parametrize("family", WHERE)
def test_what_can_not_be_followed_is_named_and_nothing_is_cached(family: str) -> None:
    tiny, cache = zoo.build(family), VisionFeatureCache()
    module = tiny.model[WHERE[family]]
    setattr(tiny.model, WHERE[family], functools.partial(module))
    plain = embedded(tiny, prepared(tiny, [A]))
    warn_once.cache_clear()
    with (
        pytest.warns(UserWarning, match=f"nothing is cached: {WHERE[family]} is a partial, "),
        attach(tiny.model, tiny.processor, cache) as attached,
    ):
        assert same(embedded(tiny, prepared(tiny, [A])), plain)
        assert "can't be followed" in attached.opaque
        assert len(cache) == 0
        setattr(tiny.model, WHERE[family], module)
        assert same(embedded(tiny, prepared(tiny, [A])), plain)
        assert not attached.opaque
    assert len(cache) == 1
