"""MiniCPM: its processors take and give lists by prompt, an image's views in arrays of their own."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from operator import is_
from typing import TYPE_CHECKING, Any

import numpy as np

from visioncache.vlm.families.family import First
from visioncache.vlm.families.image_processors import ATTRIBUTE, LeftAlone, Preprocessor
from visioncache.vlm.families.layouts import Layout
from visioncache.vlm.patching.instances import Patch, around

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

VIEWS = "num_patches_per_image"
MODE = "downsample_mode"
"""How many patches become a token; the processor counts tokens by it, and the model is told."""
PATCHES_OF_A_TOKEN = {"4x": 4, "16x": 16}


@dataclass(frozen=True)
class ByPrompt(Layout):
    """`[prompt][view]`, arrays of any shape, beside `[prompt]` sizes `[view, 2]`."""

    companions: tuple[str, ...] = ("tgt_sizes", VIEWS, MODE)
    numpy: bool = True

    def images(self, inputs: dict[str, Any]) -> list[dict[str, Any]]:
        pixels, sizes = self.pixels[0], self.companions[0]
        images = []
        for prompt, counts in enumerate(self._counts(inputs)):
            for start, end in pairwise([0, *np.cumsum(counts, dtype=int).tolist()]):
                image = {name: [inputs[name][prompt][start:end]] for name in (pixels, sizes)}
                images.append({**image, MODE: inputs[MODE]} if MODE in inputs else image)
        return images

    def join(self, outputs: Sequence[dict[str, Any]]) -> dict[str, Any]:
        (alone,) = outputs  # `Prompts` asks for one image after the other
        return alone

    def united(self, values: Sequence[Any], inputs: dict[str, Any], join: Callable[..., Any]) -> Any:
        rest = iter(values)
        counts = self._counts(inputs)
        features = [join([next(rest) for _ in own]) if own else [] for own in counts]
        if inputs.get(MODE):
            tokens = sum(len(of_prompt) for of_prompt in features)
            patches = sum(int(np.prod(sizes, axis=-1).sum()) for sizes in inputs[self.companions[0]])
            if patches != tokens * PATCHES_OF_A_TOKEN.get(inputs[MODE], 0):
                raise ValueError(
                    f"{MODE}={inputs[MODE]!r} reached the model, but its processor counted other tokens; "
                    f"set image_processor.{MODE} too"
                )
        return features

    def _counts(self, inputs: dict[str, Any]) -> list[list[int]]:
        """By prompt, the views of each image; where films stand between them, all in one."""
        by_prompt = inputs[self.pixels[0]]
        told = inputs.get(VIEWS) or [[1] * len(views) for views in by_prompt]
        return [
            counts if sum(counts) == len(views) else [len(views)]
            for counts, views in zip(told, by_prompt, strict=True)
        ]


class OfMode(First):
    """MiniCPM-V 4.6, which merges as many patches into a token as it is told."""

    settings = (MODE, "insert_layer_id")


class OfCrops(OfMode):
    """MiniCPM-V 4.7, which wants a whole prompt before it encodes."""

    def encode(self, model: Any, embed: Callable[..., Any], inputs: dict[str, Any]) -> None:  # noqa: ARG002
        model.get_vision_embedding(
            inputs["pixel_values"], inputs["tgt_sizes"], downsample_mode=inputs.get(MODE)
        )


class Prompts(Preprocessor):
    """`image_processor.preprocess`, of lists of images by prompt, image by image."""

    method = "preprocess"

    def __init__(self, processor: Any, pixels: str) -> None:
        super().__init__(processor, ATTRIBUTE, pixels)

    def patches(self, process: Callable[..., Any], wrapper: Callable[..., Any]) -> list[Patch]:
        def preprocess(original: Callable[..., Any], images: Sequence[Sequence[Any]]) -> dict[str, Any]:
            def make(alone: list[Any]) -> dict[str, Any]:
                mode = getattr(self.target, MODE, None)
                return {**original([alone]), **({MODE: mode} if mode else {})}

            made = [[wrapper(make, [image]) for image in prompt] for prompt in images]
            inputs = {
                name: [_end_to_end([of_none[0], *(one[name][0] for one in own)]) for own in made]
                for name, of_none in original([[]]).items()
            }
            self._thread.views = _flat(inputs[self._pixels])
            return inputs

        def in_order(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            self._thread.views = []
            outputs = original(*args, **kwargs)
            made, given = self._thread.views, _flat(outputs.get(self._pixels) or [])
            self._thread.views = []
            # Images that have no place in the prompt are put before the others.
            if len(made) != len(given) or not all(map(is_, made, given)):
                raise LeftAlone
            return outputs

        def call(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            if inspect.signature(original).bind(*args, **kwargs).arguments.get("videos"):
                # Their frames stand among the views of images: the model's side looks at what it is given.
                return original(*args, **kwargs)
            return process(partial(in_order, original), *args, **kwargs)

        def methods(target: Any) -> dict[str, Any]:
            return {self.method: around(target, self.method, preprocess)}

        return [self.patch_of_target(methods), self.patch_of_processor(call)]


def _flat(views: Sequence[Sequence[Any]]) -> list[Any]:
    return [view for of_prompt in views for view in of_prompt]


def _end_to_end(values: list[Any]) -> Any:
    if isinstance(values[0], np.ndarray):
        return np.concatenate(values)
    return [item for value in values for item in value]
