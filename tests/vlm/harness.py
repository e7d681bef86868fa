"""Run a tiny model as mlx-vlm does: prepared inputs, greedy tokens, everything that it was given."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
import pytest
import zoo
from mlx_vlm.generate import generate_step
from mlx_vlm.utils import prepare_inputs

from visioncache.sizes import leaves
from visioncache.vlm import attach
from visioncache.vlm.families.proven import package_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from visioncache import VisionFeatureCache
    from visioncache.vlm import Attached


def prepared(tiny: zoo.Tiny, images: Sequence[Any], prompt: str | list[str] | None = None) -> dict[str, Any]:
    """Prepare a question about images by mlx-vlm's processor, or by the zoo where there is none."""
    config = tiny.model.config
    module = importlib.import_module(f"zoo.{package_of(tiny.model)}")
    if tiny.processor is None:
        return module.inputs(images, prompt or tiny.prompt(len(images)))
    inputs = prepare_inputs(
        tiny.processor,
        images=list(images) or None,
        prompts=prompt or tiny.prompt(len(images)),
        image_token_index=getattr(config, "image_token_index", None),
        add_special_tokens=False,
    )
    return module.complete(inputs) if hasattr(module, "complete") else inputs


def embedded(tiny: zoo.Tiny, inputs: dict[str, Any]) -> dict[str, Any]:
    """Everything that the language model is given, evaluated."""
    rest = dict(inputs)
    ids, pixels = rest.pop("input_ids"), rest.pop("pixel_values", None)
    mask = rest.pop("attention_mask", None)
    features = tiny.model.get_input_embeddings(ids, pixels, mask=mask, **rest).to_dict()
    given = {name: value for name, value in features.items() if value is not None}
    mx.eval(list(arrays(given)))
    return given


def arrays(tree: Any) -> Iterator[mx.array]:
    """Every array of an answer, in whatever holds it."""
    if isinstance(tree, mx.array):
        yield tree
    elif isinstance(tree, np.ndarray):
        yield mx.array(tree)
    elif isinstance(tree, (list, tuple)):
        for item in tree:
            yield from arrays(item)
    elif isinstance(tree, dict):
        yield from arrays(list(tree.values()))
    elif hasattr(tree, "__dict__"):
        yield from arrays(vars(tree))


def greedy(tiny: zoo.Tiny, images: Sequence[Any], count: int = 4, **options: Any) -> list[int]:
    """The first greedy tokens of an answer about images."""
    answers(tiny)
    if not tiny.chunked:
        options.setdefault("prefill_step_size", None)
    inputs = prepared(tiny, images)
    ids, pixels = inputs.pop("input_ids"), inputs.pop("pixel_values", None)
    mask = inputs.pop("attention_mask", None)
    steps = generate_step(
        ids, tiny.model, pixels, mask, max_tokens=count, temperature=0.0, **inputs, **options
    )
    return [int(token) for token, _ in steps]


def asked(tiny: zoo.Tiny, cache: VisionFeatureCache, *images: Any) -> tuple[int, int]:
    """Hits and misses of one question, the model attached for it alone."""
    with attach(tiny.model, tiny.processor, cache), cache.watch() as delta:
        embedded(tiny, prepared(tiny, images))
    return delta.hits, delta.misses


def but_for_pixels(inputs: Any, attachment: Attached) -> dict[str, Any]:
    """Return the inputs that an attached processor hands on as they would be without a cache, and shapes of others."""
    family = attachment.family
    tickets = {*family.layout.pixels, "images"} - set(family.kept)
    return {
        name: [array.shape for array in leaves(value)] if name in tickets else value
        for name, value in dict(inputs).items()
    }


def film_and_picture(tiny: zoo.Tiny, *, renamed: str = "pixel_values_videos") -> tuple[Any, Any]:
    """A film of one still, and the same behind a picture, as mlx-vlm's models take them."""
    picture, still, _ = zoo.photos()
    config = getattr(tiny.model.config, "thinker_config", tiny.model.config)
    of_picture, of_film = prepared(tiny, [picture]), prepared(tiny, [still])
    ids = of_film["input_ids"]
    film = {
        **of_film,
        "input_ids": mx.where(ids == config.image_token_id, config.video_token_id, ids),
        renamed: of_film.pop("pixel_values"),
        "video_grid_thw": of_film.pop("image_grid_thw"),
    }
    film.pop("pixel_values", None)
    film.pop("image_grid_thw", None)
    joined = {
        name: mx.concatenate([of_picture[name], film[name]], axis=1)
        for name in film.keys() & {"input_ids", "attention_mask", "mm_token_type_ids"}
    }
    return film, {**of_picture, **film, **joined}


def answers(tiny: zoo.Tiny) -> None:
    """Skip what needs the language model where that can't run: what it is given is compared anyway."""
    if tiny.metal and not mx.metal.is_available():
        pytest.skip("mlx-vlm wrote this language model in Metal kernels, and there is no Metal here")


def same(one: Any, other: Any) -> bool:
    """Tell whether two trees are equal, bit for bit."""
    if isinstance(one, (mx.array, np.ndarray, list, tuple, dict)) and not isinstance(other, type(one)):
        return False
    if isinstance(one, mx.array):
        alike = one.shape == other.shape and one.dtype == other.dtype
        return alike and bool(mx.array_equal(one, other, equal_nan=True).item())
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if hasattr(one, "__dict__"):
        return type(one) is type(other) and same(vars(one), vars(other))
    return bool(one == other)
