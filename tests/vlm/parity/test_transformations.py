"""Gradients, compiled and mapped functions: inside of them the model is what it is without a cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mlx.core as mx
import pytest
import zoo
from harness import prepared, same
from mlx import nn
from mlx.utils import tree_flatten
from twins import Scene, assert_alike, outcome, right

from visioncache import VisionFeatureCache

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

A, B, C = zoo.photos()
FAMILIES = ["gemma3", "idefics3", "internvl_chat", "llava", "mistral3", "paligemma", "qwen2_5_vl", "qwen3_vl"]
WEIGHED = ["gemma3", "idefics3", "mistral3", "paligemma", "qwen2_5_vl", "qwen3_vl"]
"""Families whose vision weights have gradients at all: others look positions up by integers among them."""
COMPILED = ["gemma3", "mistral3", "llava", "paligemma", "qwen2_5_vl"]
WAYS = pytest.mark.parametrize("with_processor", [True, False], ids=["processor", "prepared"])


def split(inputs: dict[str, Any]) -> tuple[Any, Callable[[Any, Any], Any]]:
    """The pixels of inputs, and how the embeddings are made of a model and such pixels."""
    rest = dict(inputs)
    ids, pixels = rest.pop("input_ids"), rest.pop("pixel_values")
    mask = rest.pop("attention_mask", None)

    def embeddings(model: Any, pixels: Any) -> Any:
        return model.get_input_embeddings(ids, pixels, mask=mask, **rest).inputs_embeds

    return pixels, embeddings


def evaluated(call: Callable[[], Any]) -> Any:
    def run() -> Any:
        value = call()
        mx.eval(value)
        return value

    return outcome(run)


def of_pixels(scene: Scene, inputs: dict[str, Any]) -> list[Any]:
    """Return what the transformations with respect to pixels give."""
    pixels, embeddings = split(inputs)

    def loss(p: Any) -> Any:
        return (embeddings(scene.model, p) ** 2).sum()

    def embeds(p: Any) -> Any:
        return embeddings(scene.model, p)

    def twice(p: Any) -> Any:
        return mx.grad(loss)(p).sum()

    def mapped() -> Any:
        return mx.vmap(embeds)(mx.stack([pixels, pixels * 0.5]))

    return [
        evaluated(lambda: mx.grad(loss)(pixels)),
        evaluated(lambda: mx.value_and_grad(loss)(pixels)),
        evaluated(lambda: mx.vjp(loss, [pixels], [mx.array(1.0)])),
        evaluated(lambda: mx.jvp(embeds, [pixels], [mx.ones_like(pixels)])),
        evaluated(lambda: mx.grad(twice)(pixels)),
        evaluated(mapped),
        evaluated(lambda: mx.checkpoint(embeds)(pixels)),
        evaluated(lambda: mx.grad(mx.checkpoint(loss))(pixels)),
        evaluated(lambda: mx.grad(lambda p: loss(p * 0.5))(pixels)),
        evaluated(lambda: mx.grad(lambda scale: loss(pixels * scale))(mx.array(1.0))),
    ]


def of_weights(scene: Scene, inputs: dict[str, Any]) -> list[Any]:
    """Return what the transformations with respect to weights give."""
    pixels, embeddings = split(inputs)

    def loss(model: Any) -> Any:
        return (embeddings(model, pixels) ** 2).sum()

    def of_parameters(parameters: Any) -> Any:
        own = scene.model.parameters()
        try:
            scene.model.update(parameters)
            return loss(scene.model)
        finally:
            scene.model.update(own)

    return [
        evaluated(lambda: nn.value_and_grad(scene.model, loss)(scene.model)),
        evaluated(lambda: mx.grad(of_parameters)(scene.model.parameters())),
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_transformed_with_respect_to_pixels_is_as_without_a_cache(family: str) -> None:
    def play(scene: Scene) -> list[Any]:
        first = scene.prepare(A)
        answers = of_pixels(scene, first)  # of an unknown image
        answers += [scene.embed(first), *of_pixels(scene, first), scene.embed(first)]
        scene.detach()
        return [*answers, *of_pixels(scene, first), scene.embed(first)]

    answers = assert_alike(family, play, with_processor=False)
    gradient = answers[0]
    if not isinstance(gradient, Exception):
        assert abs(gradient).sum().item() > 0
    assert any(isinstance(answer, mx.array) for answer in answers)


@WAYS
@pytest.mark.parametrize("family", WEIGHED)
def test_what_is_transformed_with_respect_to_weights_is_as_without_a_cache(
    family: str, *, with_processor: bool
) -> None:
    def play(scene: Scene) -> list[Any]:
        answers = of_weights(scene, scene.prepare(A))
        for _ in range(2):
            answers += [scene.ask(A), *of_weights(scene, scene.prepare(A))]
        return [*answers, scene.ask(A), scene.ask(B)]

    answers = assert_alike(family, play, with_processor=with_processor)
    _, gradients = answers[0]
    looked = [g for name, g in tree_flatten(gradients) if not name.startswith("language_model")]
    assert sum(abs(g).sum().item() for g in looked) > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_pixels_of_the_processor_are_transformed_right_or_refused(family: str) -> None:
    """An attached processor's pixels may be stand-ins: NaN, and then so is what comes of them."""

    def play(scene: Scene) -> list[Any]:
        answers = of_pixels(scene, scene.prepare(A))
        answers += [scene.ask(A), *of_pixels(scene, scene.prepare(A)), scene.ask(A)]
        return [*answers, scene.ask(B)]

    assert_alike(family, play, refusals=True, nans=True)


@WAYS
@pytest.mark.parametrize("family", WEIGHED)
def test_what_came_of_a_transformation_is_in_no_later_answer(family: str, *, with_processor: bool) -> None:
    def play(scene: Scene) -> list[Any]:
        for transformed in (of_weights, of_pixels):
            transformed(scene, scene.prepare(A))
        return [scene.ask(A), scene.ask(A), scene.ask(B), scene.ask(A)]

    assert_alike(family, play, with_processor=with_processor)


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
@pytest.mark.parametrize("family", COMPILED)
def test_a_compiled_function_answers_for_each_image(family: str, *, known: bool) -> None:
    images = [image.resize((56, 56)) for image in (A, B, C)]

    def play(scene: Scene) -> list[Any]:
        inputs = [scene.prepare(image) for image in images]
        _, embeddings = split(inputs[0])
        every = [split(one)[0] for one in inputs]
        embed = mx.compile(lambda p: embeddings(scene.model, p))
        answers = [scene.embed(one) for one in inputs] if known else []
        answers += [evaluated(lambda p=p: embed(p)) for p in every]
        answers += [scene.embed(one) for one in inputs]
        answers += [evaluated(lambda p=p: embed(p)) for p in every]
        scene.detach()
        return answers + [evaluated(lambda p=p: embed(p)) for p in every]

    answers = assert_alike(family, play, with_processor=False)
    assert not same(answers[-1], answers[-2])


@pytest.mark.parametrize("family", ["llava", "paligemma"])
def test_a_function_compiled_with_its_gradient_before_is_the_same_function_while_attached(
    family: str,
) -> None:
    def play(scene: Scene) -> list[Any]:
        scene.detach()
        pixels, embeddings = split(scene.prepare(A))
        step = mx.compile(mx.value_and_grad(lambda p: (embeddings(scene.model, p) ** 2).sum()))
        answers = [evaluated(lambda: step(pixels))]
        scene.attach()
        answers += [scene.ask(A), evaluated(lambda: step(pixels)), evaluated(lambda: step(pixels * 0.5))]
        return [*answers, scene.ask(A)]

    assert_alike(family, play, with_processor=False)


@pytest.mark.parametrize("family", WEIGHED)
def test_a_training_step_on_the_vision_side_leaves_the_weights_it_leaves_without_a_cache(family: str) -> None:
    def play(scene: Scene) -> list[Any]:
        scene.ask(A)
        answers = []
        for _ in range(2):
            pixels, embeddings = split(scene.prepare(A))
            weights = nn.value_and_grad(scene.model, lambda m, e=embeddings, p=pixels: (e(m, p) ** 2).mean())
            _, gradients = weights(scene.model)
            flat = dict(tree_flatten(gradients))
            scene.model.load_weights(
                [
                    (n, w - 0.01 * flat[n] if n in flat else w)
                    for n, w in tree_flatten(scene.model.parameters())
                ]
            )
            answers += [scene.ask(A), scene.ask(B)]
        return answers

    answers = assert_alike(family, play)
    assert not same(answers[0], answers[2])


@pytest.mark.parametrize("given", ["closed over", "an argument"])
@WAYS
@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_of_the_language_model_alone_are_as_without_a_cache(
    family: str, given: str, *, with_processor: bool
) -> None:
    """Fine-tuning with the vision side frozen, the model in evaluation mode.

    MLX follows the arguments of a differentiated function, pixels too; a stand-in among them is refused.
    """

    def play(scene: Scene) -> list[Any]:
        for child in scene.model.children().values():
            for module in child if isinstance(child, list) else [child]:
                module.freeze()
        scene.model.language_model.unfreeze()

        def loss(model: Any, inputs: dict[str, Any]) -> Any:
            rest = dict(inputs)
            ids, pixels = rest.pop("input_ids"), rest.pop("pixel_values")
            mask = rest.pop("attention_mask", None)
            return model(ids, pixel_values=pixels, mask=mask, **rest).logits.square().mean()

        def step(inputs: dict[str, Any]) -> Any:
            if given == "an argument":
                return nn.value_and_grad(scene.model, loss)(scene.model, inputs)
            return nn.value_and_grad(scene.model, lambda model: loss(model, inputs))(scene.model)

        asked = [scene.prepare(A), scene.prepare(B)]
        return [evaluated(lambda i=i: step(i)) for i in [*asked, *asked, scene.prepare(A)]]

    refusals = with_processor and given == "an argument"
    assert_alike(family, play, with_processor=with_processor, refusals=refusals)


@pytest.mark.parametrize("family", WEIGHED)
def test_gradients_of_pixels_and_weights_at_once_are_as_without_a_cache(family: str) -> None:
    def play(scene: Scene) -> list[Any]:
        pixels, embeddings = split(scene.prepare(A))

        def loss(parameters: Any, p: Any) -> Any:
            own = scene.model.parameters()
            try:
                scene.model.update(parameters)
                return (embeddings(scene.model, p) ** 2).sum()
            finally:
                scene.model.update(own)

        both = mx.value_and_grad(loss, argnums=(0, 1))
        answers = [evaluated(lambda: both(scene.model.parameters(), pixels))]
        return [*answers, scene.ask(A), evaluated(lambda: both(scene.model.parameters(), pixels))]

    assert_alike(family, play, with_processor=False)
    assert_alike(family, play, refusals=True)


@pytest.mark.parametrize("family", ["fastvlm", "gemma3", "llava", "qwen2_5_vl"])
def test_a_processor_that_is_called_inside_of_a_gradient_counts_too(family: str) -> None:
    """Where looking at the weights takes those of the transformation for the model's own."""

    def play(scene: Scene) -> list[Any]:
        def loss(model: Any) -> Any:
            rest = prepared(scene.using(model), [A])
            ids, pixels = rest.pop("input_ids"), rest.pop("pixel_values")
            mask = rest.pop("attention_mask", None)
            return model.get_input_embeddings(ids, pixels, mask=mask, **rest).inputs_embeds.square().mean()

        def gradient() -> Any:
            return evaluated(lambda: nn.value_and_grad(scene.model, loss)(scene.model))

        return [gradient(), scene.ask(A), gradient(), scene.ask(A)]

    assert_alike(family, play)


class Scaled(nn.Module):
    """A projector that scales by a number from a dict that it closes over."""

    def __init__(self, inner: Any, held: dict[str, Any]) -> None:
        super().__init__()
        self.inner = inner
        self._scale = lambda: held["scale"]

    def __call__(self, *args: Any) -> Any:
        return self.inner(*args) * self._scale()


@WAYS
@pytest.mark.parametrize("family", ["gemma3", "kimi_vl", "lfm2_vl", "llama4", "paligemma"])
def test_what_code_closes_over_is_transformed_as_without_a_cache(
    family: str, *, with_processor: bool
) -> None:
    def play(scene: Scene) -> list[Any]:
        held = {"scale": mx.array(1.0)}
        scene.model.multi_modal_projector = Scaled(scene.model.multi_modal_projector, held)
        scene.model.eval()
        with scene.bypass():
            pixels, embeddings = split(scene.prepare(A))

        def loss(scale: Any) -> Any:
            held["scale"] = scale
            return (embeddings(scene.model, pixels) ** 2).sum()

        one = mx.array(1.0)
        answers = []
        for _ in range(2):
            answers += [evaluated(lambda: loss(one)), evaluated(lambda: mx.grad(loss)(one))]
            answers += [evaluated(lambda: mx.jvp(loss, [one], [one])), evaluated(lambda: loss(one * 0.5))]
        held["scale"] = one
        return [*answers, scene.ask(A)]

    answers = assert_alike(family, play, with_processor=with_processor)
    assert abs(answers[1]).item() > 0


@pytest.fixture
def no_compilation() -> Iterator[None]:
    mx.disable_compile()
    yield
    mx.enable_compile()


@pytest.mark.usefixtures("no_compilation")
@WAYS
@pytest.mark.parametrize("family", ["gemma3", "mistral3", "qwen2_5_vl"])
def test_where_compilation_is_off_images_are_cached_and_gradients_are_those_of_an_encode(
    family: str, *, with_processor: bool
) -> None:
    scene = Scene(zoo.build(family), VisionFeatureCache(), with_processor=with_processor)
    plain = Scene(zoo.build(family), None, with_processor=with_processor)
    assert all(right(scene.ask(A), plain.ask(A)) for _ in range(2))
    assert scene.attached.cache.info().hits == 1
    with scene.attached.bypass():
        inputs = prepared(scene.tiny, [A])
    pixels, embeddings = split(inputs)
    found, wanted = (
        mx.grad(lambda p, scene=scene: (embeddings(scene.model, p) ** 2).sum())(pixels)
        for scene in (scene, plain)
    )
    assert same(found, wanted)
    assert float(mx.abs(wanted).max()) > 0
    scene.detach()
