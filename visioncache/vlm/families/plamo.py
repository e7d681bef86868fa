"""PLaMo 2: its processor cuts images into tiles while it writes the prompt.

How many tiles an image gives depends on its size, and on how many the prompt has room for. So the
processor cuts outlines; what it did to one is done to the image itself when nobody knows the result.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from visioncache.recent import Recent
from visioncache.vlm.families.image_processors import ATTRIBUTE, Preprocessor
from visioncache.vlm.patching.instances import Patch, around
from visioncache.vlm.request.image import SourceImage

if TYPE_CHECKING:
    from collections.abc import Callable

    Steps = tuple[tuple[str, tuple[int, ...]], ...]
    """Steps done to an image one after the other: PIL's method, and a size or a box."""

REMEMBERED = 4096
"""Sizes of images that are kept, some hundred bytes each."""


class Outlines(Preprocessor):
    """`image_processor`, called for each image with its tiles."""

    def __init__(self, processor: Any, pixels: str) -> None:
        super().__init__(processor, ATTRIBUTE, pixels)
        self._sizes: Recent[str, tuple[int, int]] = Recent(REMEMBERED)

    def patches(self, process: Callable[..., Any], wrapper: Callable[..., Any]) -> list[Patch]:
        def split(original: Callable[..., Any], text: str, images: list[Any]) -> Any:
            if any(image.mode != "RGB" for image in images):
                return original(text, images)  # cut before it is made RGB, which is not the same
            return original(text, [Outline(image, self._size(image)) for image in images])

        def call(original: Callable[..., Any], images: Any, **kwargs: Any) -> Any:
            if not isinstance(images, list) or not isinstance(images[0], Outline):
                return original(images, **kwargs)

            def make(group: list[Any], *, tiles: list[Steps], **settings: Any) -> Any:
                return original(_cut(group[0], tiles), **settings)

            outputs = [
                wrapper(make, [outline.image], tiles=[tile.steps for tile in own], **kwargs)
                for outline, own in groupby(images, lambda tile: tile.whole)
            ]
            return {self._pixels: [tile for output in outputs for tile in output[self._pixels]]}

        own = {
            "process": around(self._processor, "process", process),
            "_split_images_into_tiles": around(self._processor, "_split_images_into_tiles", split),
        }
        methods = self.patch_of_target(lambda target: {"__call__": around(target, "__call__", call)})
        return [methods, self.patch_of_processor(process, own)]

    def _size(self, image: Any) -> tuple[int, int]:
        """An image's size, for which it is decoded once."""
        if not isinstance(image, SourceImage):
            size: tuple[int, int] = image.size
            return size
        image.ask_size = self._remembered
        size = image.size
        self._sizes[_name(image)] = size
        return size

    def _remembered(self, image: SourceImage) -> tuple[int, int] | None:
        return self._sizes.get(_name(image))


class Outline:
    """The size that an image has after some steps."""

    mode = "RGB"

    def __init__(self, image: Any, size: tuple[int, int], steps: Steps = ()) -> None:
        self.image, self.size, self.steps = image, size, steps
        self.whole = self

    def resize(self, size: tuple[int, int]) -> Outline:
        """As PIL's."""
        return self._after("resize", size, size)

    def crop(self, box: tuple[int, int, int, int]) -> Outline:
        """As PIL's."""
        left, upper, right, lower = box
        return self._after("crop", box, (right - left, lower - upper))

    def _after(self, name: str, given: tuple[int, ...], size: tuple[int, int]) -> Outline:
        outline = Outline(self.image, size, (*self.steps, (name, given)))
        outline.whole = self.whole
        return outline


def _cut(image: Any, tiles: list[Steps]) -> list[Any]:
    """The tiles of an image; steps that several begin with are taken once."""
    after: dict[Steps, Any] = {(): image}
    for steps in tiles:
        for i, (name, given) in enumerate(steps):
            if steps[: i + 1] not in after:
                after[steps[: i + 1]] = getattr(after[steps[:i]], name)(given)
    return [after[steps] for steps in tiles]


def _name(image: SourceImage) -> str:
    return f"{image.key.text}/{image.variant}"
