"""Code of the user's own on a request's way: it answers as without a cache, also where it changes pixels late."""

from __future__ import annotations

import functools
import inspect
import warnings
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
import pytest
import zoo
from mlx import nn
from mlx.utils import tree_map
from twins import Scene, assert_alike, looking

from visioncache import VisionFeatureCache, attach
from visioncache.vlm.patching.instances import class_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

A, B, _ = zoo.photos()
FAMILIES = ["florence2", "lfm2_vl", "molmo2", "phi4mm", "plamo2vl", "qwen2_5_vl"]


@contextmanager
def replaced(owner: Any, name: str, change: Callable[[Any], Any]) -> Iterator[None]:
    """Put `change(own)` in the place of a class's or module's own function inside the block."""
    own, had = getattr(owner, name), name in vars(owner)
    setattr(owner, name, change(own))
    try:
        yield
    finally:
        if had:
            setattr(owner, name, own)
        else:
            delattr(owner, name)


def halved(own: Callable[..., Any]) -> Callable[..., Any]:
    """A function that halves the arrays of numbers that another one returns."""

    def half(value: Any) -> Any:
        is_array = isinstance(value, (mx.array, np.ndarray))
        floats = is_array and str(value.dtype).removeprefix("mlx.core.").startswith(("float", "bfloat"))
        return value * 0.5 if floats else value

    def function(*args: Any, **kwargs: Any) -> Any:
        made = own(*args, **kwargs)
        if not hasattr(made, "keys"):
            return tree_map(half, made)
        for name in made:
            made[name] = tree_map(half, made[name]) if name in ("pixel_values", "images") else made[name]
        return made

    return function


def image_processor(scene: Scene) -> tuple[type, str]:
    kind = class_of(scene.processor.image_processor)
    return kind, "preprocess" if hasattr(kind, "preprocess") else "__call__"


def processor(scene: Scene) -> tuple[type, str]:
    return class_of(scene.processor), "__call__"


def vision_modules(scene: Scene) -> list[nn.Module]:
    return [child for child in looking(scene.model).values() if isinstance(child, nn.Module)]


@pytest.mark.parametrize("family", ["d1", "lfm2_vl", "llava", "molmo2", "qwen2_5_vl", "qwen3_vl"])
def test_a_method_that_wraps_an_attached_ones_is_the_users_own(family: str) -> None:
    kept: list[bool] = []

    def wrapping(own: Any) -> Any:
        @functools.wraps(own)  # copies what is on the method, ours too
        def call(*args: Any, **kwargs: Any) -> Any:
            made = own(*args, **kwargs)
            made.inputs_embeds = made.inputs_embeds * 0.5
            return made

        return call

    def play(scene: Scene) -> list[Any]:
        kind = class_of(scene.model)
        answers = [scene.ask(A)]
        with replaced(kind, "get_input_embeddings", wrapping):
            mine = vars(kind)["get_input_embeddings"]
            answers += [scene.ask(A) for _ in range(2)]
            scene.detach()
            kept.append(vars(kind)["get_input_embeddings"] is mine)
            return [*answers, scene.ask(A)]

    assert_alike(family, play)
    assert kept == [True, True]


@pytest.mark.parametrize("family", ["d1", "llava", "qwen2_5_vl", "qwen3_5_moe", "qwen3_vl", "smolvlm"])
def test_to_be_attached_is_no_change_of_a_model(family: str) -> None:
    tiny = zoo.build(family)
    with attach(tiny.model, tiny.processor, prefixes="1 MiB") as attached:
        assert attached.prefixes is not None
        described = [*attached.described, attached.prefixes._scope._fingerprint]
        assert [one.changed() for one in described] == [False] * 3


@pytest.mark.parametrize("place", [image_processor, processor])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_method_replaced_in_a_class_while_attached_is_the_one_that_runs(
    family: str, place: Callable[[Scene], tuple[type, str]]
) -> None:
    def play(scene: Scene) -> list[Any]:
        answers = [scene.ask(A)]
        kind, name = place(scene)
        with replaced(kind, name, halved):
            answers += [scene.ask(A), scene.ask(A), scene.ask(B)]
        return [*answers, scene.ask(A)]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_alike(family, play)


@pytest.mark.parametrize("family", FAMILIES)
def test_each_vision_modules_method_replaced_in_its_class_is_the_one_that_runs(family: str) -> None:
    def play(scene: Scene) -> list[Any]:
        answers = [scene.ask(A)]
        for kind in {class_of(module): None for module in vision_modules(scene)}:
            with replaced(kind, "__call__", halved):
                answers += [scene.ask(A), scene.ask(A)]
        return [*answers, scene.ask(A)]

    assert_alike(family, play)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_class_made_from_a_patched_one_and_put_in_its_place_is_the_one_that_answers(family: str) -> None:
    def play(scene: Scene) -> list[Any]:
        answers, gains = [scene.ask(A)], [1.0]
        for module in vision_modules(scene):
            kind = type(module)

            def call(self: Any, *args: Any, kind: type = kind, **kwargs: Any) -> Any:
                made = kind.__call__(self, *args, **kwargs)
                return made * gains[0] if isinstance(made, mx.array) else made

            module.__class__ = type(kind.__name__, (kind,), {"__call__": call})
            answers += [scene.ask(A), scene.ask(A)]
            gains[0] *= 0.5
            answers += [scene.ask(A), scene.ask(A)]
        scene.detach()
        answers.append(scene.ask(A))
        scene.attach()
        return [*answers, scene.ask(A), scene.ask(B)]

    assert_alike(family, play)


def model_itself(scene: Scene) -> list[Any]:
    return [(scene.model, "get_input_embeddings")]


def each_module(scene: Scene) -> list[Any]:
    return [(module, "__call__") for module in vision_modules(scene)]


def processor_itself(scene: Scene) -> list[Any]:
    return [(scene.processor, "__call__")]


@pytest.mark.parametrize("parts", [model_itself, each_module, processor_itself])
@pytest.mark.parametrize("family", ["gemma3", "idefics3", "llava", "mistral3", "qwen2_5_vl"])
def test_a_method_put_into_the_class_of_what_is_attached_is_the_one_that_runs(
    family: str, parts: Callable[[Scene], list[Any]]
) -> None:
    def wrapping(own: Any) -> Any:
        half = halved(own)

        def call(*args: Any, **kwargs: Any) -> Any:
            made = half(*args, **kwargs)
            if hasattr(made, "inputs_embeds"):
                made.inputs_embeds = made.inputs_embeds * 0.5
            return made

        return call

    def play(scene: Scene) -> list[Any]:
        answers = [scene.ask(A)]
        with ExitStack() as stack:
            for part, name in parts(scene):
                stack.enter_context(replaced(type(part), name, wrapping))
            answers += [scene.ask(A), scene.ask(A)]
        answers += [scene.ask(A), scene.ask(B), scene.ask(A)]
        if scene.cache is not None:
            assert scene.cache.info().hits
        return answers

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_alike(family, play)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_processors_own_class_that_changes_pixels_last_answers_as_without_a_cache(family: str) -> None:
    def play(scene: Scene) -> list[Any]:
        scene.detach()
        kind = type(scene.processor)
        scene.processor.__class__ = type(kind.__name__, (kind,), {"__call__": halved(kind.__call__)})
        scene.attach()
        return [scene.ask(A), scene.ask(A), scene.ask(B), scene.ask(A, B)]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_alike(family, play)


def test_what_is_not_cached_for_that_is_said_in_one_line_and_stored_nowhere() -> None:
    cache = VisionFeatureCache()
    scene = Scene(zoo.build("llava"), cache, with_processor=True)
    with (
        replaced(class_of(scene.processor), "__call__", halved),
        pytest.warns(UserWarning, match="^an image is not cached: code that is not mlx-vlm's takes part"),
    ):
        scene.ask(A)
    assert len(cache) == 0
    scene.ask(A)
    assert len(cache) == 1
    scene.detach()


def test_own_code_that_changes_nothing_hits_after_one_comparison() -> None:
    scene = Scene(zoo.build("llava"), VisionFeatureCache(), with_processor=True)

    def noted(own: Any) -> Any:
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            return own(self, *args, **kwargs)

        return call

    with replaced(class_of(scene.processor), "__call__", noted):
        assert [scene.encodes() for _ in range(3) if scene.ask(A) is not None] == [
            2,
            2,
            2,
        ]  # in a longer prompt too
        assert len(scene.attached.trust._compared) == 1
    scene.detach()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (mx.fast, "scaled_dot_product_attention"),
        (mx.fast, "layer_norm"),
        (mx.fast, "rms_norm"),
        (np, "stack"),
        (np, "array"),
    ],
    ids=lambda one: one if isinstance(one, str) else one.__name__,
)
@pytest.mark.parametrize("family", ["florence2", "molmo2", "phi4mm"])
def test_a_librarys_function_replaced_in_its_module_counts_by_way_of_its_layers_too(
    family: str, module: Any, name: str
) -> None:
    def play(scene: Scene) -> list[Any]:
        answers = [scene.ask(A)]
        with replaced(module, name, halved):
            answers.append(scene.ask(A))
        return [*answers, scene.ask(A)]

    assert_alike(family, play)


def test_an_attribute_that_a_class_of_classes_computes_counts() -> None:
    def play(scene: Scene) -> list[Any]:
        state = {"gain": 1.0}

        class Kind(type):
            @property
            def gain(cls) -> float:
                return state["gain"]

        class Setting(metaclass=Kind):
            pass

        scene.detach()
        kind = type(scene.processor.image_processor)

        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            made = kind.__call__(self, *args, **kwargs)
            made["pixel_values"] = np.asarray(made["pixel_values"]) * Setting.gain
            return made

        scene.processor.image_processor.__class__ = type(kind.__name__, (kind,), {"__call__": call})
        scene.attach()
        answers = [scene.ask(A), scene.ask(A)]
        state["gain"] = 0.5
        return [*answers, scene.ask(A), scene.ask(A)]

    assert_alike("florence2", play)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("family", ["gemma3", "idefics3", "llava", "mllama", "smolvlm"])
def test_an_image_processors_method_on_the_instance_is_looked_up_too(family: str, when: str) -> None:
    scene = Scene(zoo.build(family), VisionFeatureCache(), with_processor=True)
    if when == "before":
        scene.detach()
    target = scene.processor.image_processor
    own = getattr(type(target), "preprocess")  # noqa: B009  # of transformers' classes, which mypy doesn't see
    target.preprocess = lambda *args, **kwargs: own(target, *args, **kwargs)
    if when == "before":
        scene.attach()
    answers = [scene.ask(A) for _ in range(4)]
    info = scene.cache.info() if scene.cache else None
    assert (info.misses, info.hits) == (1, 3) if info else False
    assert scene.encodes() == 2  # once in a longer prompt
    assert not any(isinstance(answer, Exception) for answer in answers)
    assert inspect.signature(target.preprocess).parameters.keys() == {"args", "kwargs"}
    scene.detach()
    assert target.preprocess is vars(target)["preprocess"]
