"""Canvas: images padded to the largest of their request, by models that attend to the padding too.

What an image becomes depends on the others then, but through the canvas alone: it is a part of each
image's identity, and follows from the sizes that the images have when each is processed alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from visioncache.recent import Recent
from visioncache.vlm.families.image_processors import LeftAlone
from visioncache.vlm.families.layouts import Beside

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from visioncache.keys import Key

    Size = tuple[int, ...]
    """Height and width, pixels."""
    Outputs = dict[str, Any]


class Canvas(Beside):
    """Images beside each other, `[1, image, ..., height, width]`, zeros below and to the right of each."""

    def padded(self, outputs: Outputs, canvas: Size) -> Outputs:
        """An image's inputs on a larger canvas."""
        return {name: _padded(value, canvas) for name, value in outputs.items()}


class OnCanvas:
    """An image processor's calls in one request, each image's outputs on the canvas of all.

    Args:
        layout: how images lie beside each other.
        process: the image processor, for a list of one image.
        identity: the key of an image (of what was decoded, once it is) and its label.
        images: of the request.
    """

    def __init__(
        self,
        layout: Canvas,
        process: Callable[[list[Any]], Outputs],
        identity: Callable[[Any], tuple[Key, str]],
        images: Sequence[Any],
    ) -> None:
        self._layout, self._alone, self._identity = layout, process, identity
        self._made: dict[int, Outputs] = {}
        sizes = [_sizes.get(identity(image)[0].text) or self._learn(image) for image in images]
        self.size: Size = tuple(map(max, zip(*sizes, strict=True)))

    def process(self, images: list[Any]) -> Outputs:
        """The outputs for one image; an image whose size is learnt is processed once."""
        (image,) = images
        if id(image) not in self._made:
            self._learn(image)
        outputs = self._made[id(image)]
        own = self._own(outputs)
        if any(side > limit for side, limit in zip(own, self.size, strict=True)):
            raise ValueError("an image changed while it was read; ask again")
        return self._layout.padded(outputs, self.size)

    def _learn(self, image: Any) -> Size:
        self._made[id(image)] = outputs = self._alone([image])
        if not self._layout.fits(outputs):
            raise LeftAlone
        _sizes[self._identity(image)[0].text] = self._own(outputs)
        return self._own(outputs)

    def _own(self, outputs: Outputs) -> Size:
        return tuple(outputs[self._layout.pixels[0]].shape[-2:])


_sizes: Recent[str, Size] = Recent(4096)
"""The sizes that images have alone, by key.

They are learnt by processing an image, in this process: features from a store of another one are found once
the image was decoded and processed here, and are not encoded again.
"""


def _padded(rows: Any, canvas: Size) -> Any:
    gaps = [(0, size - own) for size, own in zip(canvas, rows.shape[-2:], strict=True)]
    return np.pad(rows, [(0, 0)] * (rows.ndim - 2) + gaps)
