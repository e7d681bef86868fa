"""Ask a side: each function returns an answer, or the error that was raised."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
import zoo
from harness import embedded, prepared
from mlx import nn
from mlx.utils import tree_map
from mlx_vlm.generate import dispatch
from twins import looking, outcome

from fuzzed.images import Shown, open_door

if TYPE_CHECKING:
    from collections.abc import Callable

    from fuzzed.side import Side

EDITS: dict[str, Callable[[Any], Any]] = {
    "flipped": lambda a: a[..., ::-1],
    "scaled": lambda a: a * 0.5,
    "copied through numpy": lambda a: mx.array(np.array(a)),
    "cast": lambda a: mx.array(a).astype(mx.float32),
    "reordered": lambda a: a[::-1],
}
PATCH_EMBEDDINGS = ("patch_embed", "input_proj")
THREAD_SECONDS = 120


def ask(side: Side, images: tuple[Shown, ...], options: dict[str, Any] | None = None, aside: str = "") -> Any:
    with side.aside(aside):
        return outcome(lambda: embedded(side.tiny, side.prepare(images, options or {})))


def ask_text(side: Side) -> Any:
    return outcome(lambda: embedded(side.tiny, side.prepare((), {})))


def ask_tokens(side: Side, images: tuple[Shown, ...]) -> Any:
    """The first tokens of a question and of the same again; nothing where the language model can't run."""
    if side.tiny.metal and not mx.metal.is_available():
        return None

    def tokens(opened: list[Any]) -> list[int]:
        inputs = prepared(side.tiny, opened)
        ids, pixels = inputs.pop("input_ids"), inputs.pop("pixel_values", None)
        mask = inputs.pop("attention_mask", None)
        options = {"max_tokens": 2, "temperature": 0.0, "prefill_step_size": 8 if side.tiny.chunked else None}
        # Where mlx-vlm's own calls begin to generate; in steps as short as these prompts.
        steps = dispatch.generate_step(ids, side.tiny.model, pixels, mask, **options, **inputs)
        return [int(token) for token, _ in steps]

    # Opened ahead: some are drawn on, as often here as by a twin that raises at the first.
    twice = [[open_door(shown, side.folder, side.kept) for shown in images] for _ in range(2)]
    return outcome(lambda: [*map(tokens, twice)])


def ask_threads(side: Side, each: tuple[Shown, ...]) -> Any:
    """One question a thread; the twin asks them one after the other."""
    with ThreadPoolExecutor(len(each) if side.cache is not None else 1) as pool:
        asked = [pool.submit(ask, side, (shown,)) for shown in each]
        return [future.result(THREAD_SECONDS) for future in asked]


def ask_edited(side: Side, images: tuple[Shown, ...], edit: str) -> Any:
    """Something between the processor and the model; nothing where the model makes integers of NaN."""
    if edit == "nothing, detached" and makes_integers(side.tiny.model):
        return None

    def every(pixels: Any) -> Any:
        if isinstance(pixels, (list, tuple)):
            return [every(one) for one in pixels]
        return pixels if edit == "nothing, detached" else EDITS[edit](pixels)

    def edited() -> Any:
        inputs = side.prepare(images, {})
        inputs["pixel_values"] = every(inputs["pixel_values"])
        with side.aside("suspended" if "detached" in edit else ""):
            return embedded(side.tiny, inputs)

    return outcome(edited)


def makes_integers(model: Any) -> bool:
    """Tell whether a patch embedding is quantised: mlx-vlm takes the type of its weights for that of pixels."""
    layers = (
        layer for path, layer in model.named_modules() if any(name in path for name in PATCH_EMBEDDINGS)
    )
    return any(isinstance(layer, nn.QuantizedLinear) for layer in layers)


def ask_copy(side: Side, images: tuple[Shown, ...], deep: bool, gain: float) -> Any:
    """A copy of the model, with other weights where `gain` is not 1."""

    def copied() -> Any:
        model = copy.deepcopy(side.tiny.model) if deep else copy.copy(side.tiny.model)
        if gain != 1:
            for name, child in looking(model).items():
                other = copy.deepcopy(child)
                for module in other if isinstance(other, list) else [other]:
                    module.update(tree_map(lambda w: w * gain, module.parameters()))
                setattr(model, name, other)
        return embedded(zoo.Tiny(model, side.tiny.processor, side.tiny.prompt), side.prepare(images, {}))

    return outcome(copied)


def ask_copied_processor(side: Side, images: tuple[Shown, ...], setting: str, value: Any) -> Any:
    def copied() -> Any:
        processor = copy.deepcopy(side.tiny.processor)
        target = getattr(processor, "image_processor", processor)
        if hasattr(target, setting):
            setattr(target, setting, value)
        return embedded(side.tiny, side.prepare(images, {}, processor))

    return outcome(copied)


def ask_gradient(side: Side, images: tuple[Shown, ...]) -> Any:
    """A gradient with respect to the weights of the vision side."""

    def gradient() -> Any:
        modules = side.vision()
        if not modules:  # Falcon's tower is a weight of the language model's
            raise ValueError("no module to differentiate by")
        rest = side.prepare(images, {})
        ids, pixels = rest.pop("input_ids"), rest.pop("pixel_values")
        mask = rest.pop("attention_mask", None)

        def loss(parameters: Any) -> Any:
            for module, one in zip(modules, parameters, strict=True):
                module.update(one)
            return (
                side.tiny.model.get_input_embeddings(ids, pixels, mask=mask, **rest)
                .inputs_embeds.square()
                .mean()
            )

        own = [module.parameters() for module in modules]
        try:
            gradients = mx.grad(loss)(own)
            mx.eval(gradients)
        finally:
            for module, one in zip(modules, own, strict=True):
                module.update(one)
        return gradients

    return outcome(gradient)
