"""Boxes: Muse Spark's processor, which makes an array of each image before it makes pixels of it.

What it is given instead is an array already, of one object: the image, not decoded yet.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from visioncache.vlm.makers import ATTRIBUTE, Maker
from visioncache.vlm.swap import around, swap

if TYPE_CHECKING:
    from collections.abc import Callable


class Boxes(Maker):
    """`image_processor.preprocess_image`, image by image, before the images are arrays."""

    def __init__(self, processor: Any, pixels: str) -> None:
        super().__init__(processor, ATTRIBUTE, pixels)

    def attach(self, process: Callable[..., Any], wrapper: Callable[..., Any]) -> None:
        def preprocess_image(original: Callable[..., Any], image: Any) -> Any:
            return wrapper(lambda unboxed: original(_array(unboxed)), _unboxed(image))

        def call(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            given = inspect.signature(original).bind(*args, **kwargs).arguments
            given.update(given.pop("kwargs", {}))
            if given.get("images") is not None:
                images = given["images"]
                alike = images if isinstance(images, (list, tuple)) else [images]
                given["images"] = [_boxed(image) for image in alike]
            return process(original, **given)

        swap(self.target, preprocess_image=around(type(self.target), "preprocess_image", preprocess_image))
        swap(self._processor, **self.overrides(call))


def _boxed(image: Any) -> Any:
    if not isinstance(image, Image.Image):
        return image
    box = np.empty(1, object)
    box[0] = image
    return box


def _unboxed(array: Any) -> Any:
    return array[0] if array.dtype == object else array


def _array(image: Any) -> Any:
    """What the processor itself makes of an image."""
    return np.asarray(image.convert("RGB") if isinstance(image, Image.Image) else image)
