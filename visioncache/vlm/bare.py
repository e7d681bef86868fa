"""Bare tokenizers as processors: where mlx-vlm calls the image processor itself.

For an image processor of mlx-vlm's own kind, `prepare_inputs` tokenizes the prompt piece by piece,
calls `image_processor.preprocess` and copies what it returns, so nobody could tell which images the
copy stands for. While it is attached the processor hides that kind and takes the call itself; inside,
mlx-vlm's own code runs, and its result is remembered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mlx.core as mx
import mlx_vlm.utils
import numpy as np
from mlx_vlm.models.base import BaseImageProcessor

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

NAME = "image_processor"


class Hidden:
    """An image processor that is not of mlx-vlm's own kind, and else like the one it stands for."""

    def __init__(self, shown: Any) -> None:
        object.__setattr__(self, "_shown", shown)

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "_shown"), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(object.__getattribute__(self, "_shown"), name, value)


def is_bare(processor: Any) -> bool:
    """Whether mlx-vlm would call this processor's image processor itself."""
    return isinstance(getattr(processor, NAME, None), BaseImageProcessor)


def hiding(processor: Any, thread: threading.local) -> property:
    """A property for the processor's class: hides its image processor unless `thread.shows` it."""
    shown = getattr(processor, NAME)
    hidden = Hidden(shown)
    return property(lambda _: shown if getattr(thread, "shows", False) else hidden)


def preparing(processor: Any, thread: threading.local, image_token: int | None) -> Callable[..., Any]:
    """What the processor is called as with images: mlx-vlm's preparation of a prompt and them."""

    def prepare(*, text: Any, images: Any, **_: Any) -> Any:
        thread.shows = True
        try:
            return mlx_vlm.utils.prepare_inputs(
                processor, images=images, prompts=text, image_token_index=image_token
            )
        finally:
            thread.shows = False

    return prepare


def stacked(outputs: list[Any]) -> dict[str, Any]:
    """The list that `preprocess` returns, as mlx-vlm makes one array of it."""
    return {"pixel_values": mx.array(np.stack(outputs))}
