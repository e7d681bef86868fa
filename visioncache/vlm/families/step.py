"""Step 3.7: a whole view of every image, and windows of large ones in an array of their own."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from visioncache.vlm.families.family import First, Separate
from visioncache.vlm.families.image_processors import Preprocessor
from visioncache.vlm.families.layouts import Layout
from visioncache.vlm.patching.instances import around

if TYPE_CHECKING:
    from collections.abc import Callable

    from visioncache.vlm.patching.instances import Patch

WINDOWS, COUNTS = "patch_pixel_values", "num_patches"


@dataclass(frozen=True)
class Windowed(Layout):
    """A view an image, `[image, channels, height, width]`; all windows in one array, and a count an image."""

    pixels: tuple[str, ...] = ("pixel_values", WINDOWS)
    companions: tuple[str, ...] = (COUNTS,)
    numpy: bool = True

    def is_stacked(self, inputs: dict[str, Any]) -> bool:
        return bool(inputs[self.pixels[0]].ndim != 4)  # noqa: PLR2004

    def images(self, inputs: dict[str, Any]) -> list[dict[str, Any]]:
        views = inputs[self.pixels[0]]
        counts = [int(count) for count in inputs.get(COUNTS, [0] * len(views))]
        ends = np.cumsum([0, *counts]).tolist()
        images = []
        for i, (start, end) in enumerate(pairwise(ends)):
            image = {self.pixels[0]: views[i : i + 1]}
            if COUNTS in inputs:
                image[COUNTS] = inputs[COUNTS][i : i + 1]
            if end > start:
                image[WINDOWS] = inputs[WINDOWS][start:end]
            images.append(image)
        return images


class Viewed(First, Separate):
    """Step 3.7, which can be given features too."""

    def takes(self, inputs: dict[str, Any]) -> bool:
        return inputs.get("image_embeds") is None


class Windows(Preprocessor):
    """`patcher`, which cuts an image, and `_tensor`, which makes an array of each piece."""

    def __init__(self, processor: Any, pixels: str) -> None:
        super().__init__(processor, "patcher", pixels)

    def patches(self, process: Callable[..., Any], wrapper: Callable[..., Any]) -> list[Patch]:
        processor, pixels = self._processor, self._pixels

        def cut(original: Callable[..., Any], image: Any) -> Any:
            def make(images: list[Any]) -> dict[str, Any]:
                view, windows, newlines = original(images[0])
                made = {
                    pixels: _tensor(view, processor.image_size),
                    COUNTS: [len(windows)],
                    "newlines": [newlines],
                }
                if windows:
                    arrays = [_tensor(window, processor.patch_size) for window in windows]
                    made[WINDOWS] = np.concatenate(arrays)
                return made

            made = wrapper(make, [image])
            pieces = made.get(WINDOWS, ())
            return _Made(made[pixels]), [_Made(piece[None]) for piece in pieces], made["newlines"][0]

        def _tensor(image: Any, size: int) -> Any:
            return processor._tensor(image, size)  # noqa: SLF001

        def tensor(original: Callable[..., Any], image: Any, size: int) -> Any:
            return image.array if isinstance(image, _Made) else original(image, size)

        of_patcher = self.patch_of_target(lambda target: {"__call__": around(target, "__call__", cut)})
        return [
            of_patcher,
            self.patch_of_processor(process, {"_tensor": around(processor, "_tensor", tensor)}),
        ]


class _Made:
    """Stands for a piece of an image: the array that is made of it."""

    def __init__(self, array: Any) -> None:
        self.array = array
