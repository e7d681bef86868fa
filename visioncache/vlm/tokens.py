"""Tokens: DeepSeek-VL2's processor, which cuts images into views while it tokenizes."""

from __future__ import annotations

from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np

from visioncache.vlm.makers import Maker
from visioncache.vlm.swap import swapped

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack

    Lists = tuple[list[Any], ...]
    """Tokens, views, whether a token is an image's, tiles across and down, counts of tokens."""

TILES = "images_spatial_crop"


class Tokens(Maker):
    """`tokenize_with_images`, text by text and image by image."""

    def __init__(self, processor: Any, pixels: str) -> None:
        super().__init__(processor, "image_transform", pixels)

    @property
    def settings(self) -> dict[str, Any]:
        names = ("candidate_resolutions", "image_size", "patch_size", "downsample_ratio", "image_transform")
        return {name: getattr(self._processor, name) for name in names}

    def attach(self, undo: ExitStack, process: Callable[..., Any], wrapper: Callable[..., Any]) -> None:
        overrides = {**self.overrides(process), "tokenize_with_images": self._tokenizing(wrapper)}
        undo.enter_context(swapped(self._processor, **overrides))

    def _tokenizing(self, wrapper: Callable[..., Any]) -> Callable[..., Lists]:
        processor = self._processor
        original: Callable[..., Lists] = type(processor).tokenize_with_images
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
            (count,) = made["tokens"]
            tokens = [processor.image_token_id] * count
            return tokens, list(made[self._pixels][0]), [True] * count, made[TILES][0].tolist(), [count]

        def tokenize_with_images(
            _: Any,
            conversation: str,
            images: list[Any],
            bos: bool = True,
            eos: bool = True,
            cropping: bool = True,
        ) -> Lists:
            texts = conversation.split(processor.image_token)
            if len(texts) != len(images) + 1:
                return original(processor, conversation, images, bos, eos, cropping)  # says what is wrong
            lists = [original(processor, "", [], bos, False)]
            for text, image in zip_longest(texts, images):
                lists.append(alone(text, []))
                if image is not None:
                    lists.append(of_image(image, cropping=cropping))
            lists.append(original(processor, "", [], False, eos))
            return tuple([item for one in kind for item in one] for kind in zip(*lists, strict=True))

        return tokenize_with_images
