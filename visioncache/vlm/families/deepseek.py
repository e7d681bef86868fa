"""DeepSeek-VL2: its processor cuts images into views while it tokenizes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np

from visioncache.vlm.families.image_processors import LeftAlone, Preprocessor
from visioncache.vlm.families.layouts import Layout
from visioncache.vlm.patching.instances import class_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from visioncache.vlm.patching.instances import Patch

    Lists = tuple[list[Any], ...]
    """Tokens, views, whether a token is an image's, tiles across and down, counts of tokens."""

TILES = "images_spatial_crop"


@dataclass(frozen=True)
class Views(Layout):
    """`[prompt, view, ...]`: a global view and w x h tiles an image, beside `[prompt, image, (w, h)]`."""

    companions: tuple[str, ...] = (TILES,)

    def images(self, inputs: dict[str, Any]) -> list[dict[str, Any]]:
        pixels, tiles = self.pixels[0], self.companions[0]
        images = []
        for row, sizes in enumerate(inputs[tiles].astype(mx.int32).tolist()):
            start = 0
            for i, (width, height) in enumerate(sizes):
                if not width * height:
                    break  # padding
                end = start + 1 + width * height
                images.append(
                    {
                        pixels: inputs[pixels][row : row + 1, start:end],
                        tiles: inputs[tiles][row : row + 1, i : i + 1],
                    }
                )
                start = end
        return images

    def completed(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return self.bounded(inputs)

    def bounded(self, inputs: dict[str, Any]) -> dict[str, Any]:
        # mlx-vlm looks for as many sizes as there are views, and reads beyond the end of the array
        # where there are fewer; a size of zero ends its search.
        pixels, tiles = inputs.get(self.pixels[0]), inputs.get(self.companions[0])
        if pixels is None or tiles is None or tiles.shape[1] >= pixels.shape[1]:
            return inputs
        rows = pixels.shape[1] - tiles.shape[1]
        return {**inputs, self.companions[0]: mx.pad(tiles, [(0, 0), (0, rows), (0, 0)])}


class Tokens(Preprocessor):
    """`tokenize_with_images`, text by text and image by image."""

    def __init__(self, processor: Any, pixels: str) -> None:
        super().__init__(processor, "image_transform", pixels)

    def patches(self, process: Callable[..., Any], wrapper: Callable[..., Any]) -> list[Patch]:
        return [self.patch_of_processor(process, {"tokenize_with_images": self._tokenizing(wrapper)})]

    def _tokenizing(self, wrapper: Callable[..., Any]) -> Callable[..., Lists]:
        processor = self._processor
        original: Callable[..., Lists] = vars(class_of(processor))["tokenize_with_images"]
        alone = partial(original, processor, bos=False, eos=False)

        def make(images: list[Any], *, cropping: bool) -> dict[str, Any]:
            tokens, views, _, tiles, _ = alone(processor.image_token, images, cropping=cropping)
            return {
                self._pixels: mx.stack(views)[None],
                TILES: np.array([tiles], np.int32),
                "tokens": [len(tokens)],
            }

        def of_image(image: Any, *, cropping: bool) -> Lists:
            made = wrapper(make, [image], cropping=cropping)
            if not np.prod(made[TILES]):
                raise LeftAlone  # cut for a model of other tiles, which will not look at it
            (count,) = made["tokens"]
            tokens = [processor.image_token_id] * count
            return tokens, list(made[self._pixels][0]), [True] * count, made[TILES][0].tolist(), [count]

        def tokenize_with_images(
            caller: Any,
            conversation: str,
            images: list[Any],
            bos: bool = True,
            eos: bool = True,
            cropping: bool = True,
        ) -> Lists:
            texts = conversation.split(processor.image_token)
            theirs = caller is not processor  # a copy, which is not attached
            odd = any(image is None or isinstance(image, (list, tuple)) for image in images)
            if theirs or odd or self.leaves_alone or len(texts) != len(images) + 1:  # it says what is wrong
                return original(caller, conversation, images, bos, eos, cropping)
            lists = [original(processor, "", [], bos, False)]
            for text, image in zip_longest(texts, images):
                lists.append(alone(text, []))
                if image is not None:
                    lists.append(of_image(image, cropping=cropping))
            lists.append(original(processor, "", [], False, eos))
            return tuple([item for one in kind for item in one] for kind in zip(*lists, strict=True))

        return tokenize_with_images
