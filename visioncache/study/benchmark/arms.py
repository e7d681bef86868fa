"""Arms: the same conversation with no cache, with mlx-vlm's, with ours, and with nothing left to save."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import mlx_vlm
import mlx_vlm.utils
from mlx.utils import tree_flatten
from mlx_vlm.generate import dispatch
from mlx_vlm.utils import prepare_inputs, should_add_special_tokens
from mlx_vlm.vision_cache import VisionFeatureCache as MlxVlmCache

from visioncache.cache import VisionFeatureCache
from visioncache.vlm.attach import attach
from visioncache.vlm.chat import Chat
from visioncache.vlm.families.recognise import family_of
from visioncache.vlm.patching.instances import around, patched, resolve
from visioncache.vlm.timing import Stages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from visioncache.vlm.turn import Turn

ARMS = ("none", "mlx-vlm", "visioncache", "bound")
"""Those of a usual run."""

PREFIX_ARMS = ("visioncache+prefixes", "visioncache+warm", "floor")
"""Those that keep keys and values of prompts, and their floor."""

MEANINGS = {
    "none": "no cache",
    "mlx-vlm": "mlx-vlm's own cache, which finds an image only in a request of the same images",
    "visioncache": "this cache",
    "bound": "the language model alone, handed all features: no cache of features is faster",
    "visioncache+prefixes": "this cache, keys and values of prompts too",
    "visioncache+warm": "the same, and images are shown before the question comes",
    "floor": "new tokens and new images alone",
}
"""Explain each arm to people."""

PREFIX_BYTES = "8 GiB"
"""Bytes for the arms that keep prefixes."""


class BoundChat(Chat):
    """A chat whose images cost nothing: what it asks of the vision side is made before the clock runs.

    Its TTFT is the floor for any cache of vision features.
    """

    def _stream(self, prompt: str, images: list[Any], options: dict[str, Any]) -> Iterator[Any]:
        model = self.model
        inputs = prepare_inputs(
            self.processor,
            images=images or None,
            prompts=prompt,
            image_token_index=getattr(model.config, "image_token_index", None),
            add_special_tokens=should_add_special_tokens(model.config.model_type, self.processor),
        )
        ids, mask = inputs.pop("input_ids"), inputs.pop("attention_mask", None)
        embedded = model.get_input_embeddings(ids, inputs.pop("pixel_values", None), mask=mask, **inputs)
        mx.eval([value for value in embedded.to_dict().values() if value is not None])
        mx.clear_cache()  # or the clock would run while what the tower worked in is given back

        def generate() -> Iterator[Any]:
            with patched(model, get_input_embeddings=lambda *_, **__: embedded):
                yield from mlx_vlm.stream_generate(
                    model, self.processor, prompt, input_ids=ids, mask=mask, **inputs, **options
                )

        return generate()


class WarmChat(Chat):
    """A chat that is shown a question's images before its clock starts; `Turn.ahead` is what that took."""

    def ask(self, text: str, images: Sequence[Any] = ()) -> Turn:
        self.show(images)
        return super().ask(text)


class FloorChat(Chat):
    """A chat that has all but the new tokens in hand: inputs and features are made before the clock runs.

    Its TTFT is the floor for any cache of features, and of keys and values of prompts.
    """

    def _stream(self, prompt: str, images: list[Any], options: dict[str, Any]) -> Iterator[Any]:
        model = self.model
        inputs = prepare_inputs(
            self.processor,
            images=images or None,
            prompts=prompt,
            image_token_index=getattr(model.config, "image_token_index", None),
            add_special_tokens=should_add_special_tokens(model.config.model_type, self.processor),
        )
        ids, mask, pixels = (inputs.pop(n, None) for n in ("input_ids", "attention_mask", "pixel_values"))
        embedded = model.get_input_embeddings(ids, pixels, mask=mask, **inputs)
        mx.eval([value for value in embedded.to_dict().values() if value is not None])
        del embedded
        mx.clear_cache()
        options = {**options, **inputs, "input_ids": ids, "pixel_values": pixels, "mask": mask}
        return iter(mlx_vlm.stream_generate(model, self.processor, prompt, **options))


@contextmanager
def observed(model: Any, processor: Any, stages: Stages) -> Iterator[None]:
    """Count and time decode, preprocess, key and tower of mlx-vlm itself inside the block."""
    family = family_of(model)

    shown = [0]  # images of the request under way

    def timed(stage: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with stages.measure(stage):
            return function(*args, **kwargs)

    def processed(function: Callable[..., Any], images: Any, **kwargs: Any) -> Any:
        shown[0] = len(tree_flatten(images))  # some are given a list a prompt
        with stages.measure("preprocess", shown[0]):
            return function(images, **kwargs)

    def encoded(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with stages.measure("tower", shown[0]):
            features = function(*args, **kwargs)
            # Evaluated here, or the tower's time would be counted as the language model's.
            mx.eval(features)
            return features

    image_processor, tower = processor.image_processor, resolve(model, family.seam)
    originals = mlx_vlm.utils.process_image, dispatch.processed_image_key
    mlx_vlm.utils.process_image = partial(timed, "decode", originals[0])
    dispatch.processed_image_key = partial(timed, "key", originals[1])
    try:
        with (
            patched(image_processor, __call__=around(image_processor, "__call__", processed)),
            patched(tower, __call__=around(tower, "__call__", encoded)),
        ):
            yield
    finally:
        mlx_vlm.utils.process_image, dispatch.processed_image_key = originals


@contextmanager
def arm_chat(
    arm: str, model: Any, processor: Any, *, max_size: int = 20, **options: Any
) -> Iterator[Callable[[], Chat]]:
    """Within the block, a function that starts a new conversation under an arm, its cache shared.

    Raises:
        ValueError: there is no such arm.
    """
    if arm == "visioncache":
        cache = VisionFeatureCache(max_size)
        with attach(model, processor, cache):
            yield partial(Chat, model, processor, cache, **options)
    elif arm in PREFIX_ARMS:
        cache = VisionFeatureCache(max_size)
        kind = {"visioncache+warm": WarmChat, "floor": FloorChat}.get(arm, Chat)
        with attach(model, processor, cache, prefixes=PREFIX_BYTES):
            yield partial(kind, model, processor, cache, **options)
    elif arm == "bound":
        yield partial(BoundChat, model, processor, stages=Stages(), **options)
    elif arm in {"none", "mlx-vlm"}:
        stages = Stages()
        if arm == "mlx-vlm":
            options["vision_cache"] = MlxVlmCache(max_size)
        with observed(model, processor, stages):
            yield partial(Chat, model, processor, stages=stages, **options)
    else:
        raise ValueError(f"no arm {arm!r}; there are: {', '.join((*ARMS, *PREFIX_ARMS))}")
