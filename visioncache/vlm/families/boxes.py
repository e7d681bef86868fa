"""Boxes: processors that make an array of each image before their image processor sees it.

What they are given instead is an array already, of one object: the image, not decoded yet.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from visioncache.vlm.families.image_processors import ATTRIBUTE, Preprocessor
from visioncache.vlm.patching.instances import Patch, around

if TYPE_CHECKING:
    from collections.abc import Callable


class Boxes(Preprocessor):
    """Muse Spark's `image_processor.preprocess_image`, image by image, before the images are arrays."""

    method = "preprocess_image"

    def __init__(self, processor: Any, pixels: str) -> None:
        super().__init__(processor, ATTRIBUTE, pixels)

    def patches(self, process: Callable[..., Any], wrapper: Callable[..., Any]) -> list[Patch]:
        def preprocess(original: Callable[..., Any], image: Any, *settings: Any) -> Any:
            return wrapper(
                lambda unboxed, *same: original(self.array(unboxed), *same), _unboxed(image), *settings
            )

        def call(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            given = inspect.signature(original).bind(*args, **kwargs).arguments
            given.update(given.pop("kwargs", {}))
            if given.get("images") is not None:
                images = given["images"]
                alike = images if isinstance(images, (list, tuple)) else [images]
                given["images"] = [_boxed(image) for image in alike]
            return process(original, **given)

        def methods(target: Any) -> dict[str, Any]:
            return {self.method: around(target, self.method, preprocess)}

        return [self.patch_of_target(methods), self.patch_of_processor(call)]

    def array(self, image: Any) -> Any:
        """Return an image as the array that the processor itself makes."""
        return np.asarray(image.convert("RGB") if isinstance(image, Image.Image) else image)


class FloatBoxes(Boxes):
    """Molmo's `image_processor.preprocess`: of floats, and of settings that follow the image."""

    method = "preprocess"
    results = ("(tokens)", "image_input_idx", "image_masks")
    """The results that follow the pixels."""

    def array(self, image: Any) -> Any:
        if not isinstance(image, Image.Image):
            return image
        return np.array(image.convert("RGB")).astype(np.float32) / 255.0

    def unfold(self, result: Any) -> dict[str, Any]:
        return dict(zip((self._pixels, *self.results), result, strict=True))

    def fold(self, outputs: dict[str, Any]) -> Any:
        return tuple(outputs[name] for name in (self._pixels, *self.results))


class _Box(np.ndarray):
    """An array of one image; it asks for no scaling, since what it holds is not scaled yet."""

    def max(self, *_: Any, **__: Any) -> Any:
        return 0.0


def _boxed(image: Any) -> Any:
    if not isinstance(image, Image.Image):
        return image
    box = np.empty(1, object).view(_Box)
    box[0] = image
    return box


def _unboxed(array: Any) -> Any:
    return array[0] if array.dtype == object else array
