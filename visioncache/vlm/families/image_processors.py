"""Makers: what turns images into a model's pixels, wherever a processor keeps it.

Mostly it is `processor.image_processor`, which the processor calls. It can be another attribute, or a
function of the processor's module. Where it is of mlx-vlm's own kind, `prepare_inputs` calls it past
the processor and copies what it returns, so that nobody could tell which images the copy stands for:
while attached, the processor hides it and takes that call itself.
"""

from __future__ import annotations

import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import mlx_vlm.utils
import numpy as np
from mlx_vlm.models.base import BaseImageProcessor

from visioncache.memory import on_gpu
from visioncache.vlm.patching.instances import around, resolve, swapped, taken
from visioncache.vlm.speedups.qwen_pixels import Patches

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack

ATTRIBUTE = "image_processor"
METHODS = ("__call__", "preprocess", "preprocess_image")
_INNER = "_get_transformers_image_processor"
"""GLM-OCR's: it makes the image processor of transformers that takes its place where torch is installed."""
_SECOND = "(second)"
"""Stands for the second of a pair whose first is a dict."""


class LeftAlone(Exception):  # noqa: N818  # no error: what was asked is done in another way
    """Raised inside a processor's call whose images are no images of their own: it is done again, alone."""


class Maker:
    """Where a processor's images become pixels, and the shapes that its results come in.

    Args:
        processor: the processor.
        where: the path of an attribute of it, or `name()`: a function of its module, which it calls
            for one image after the other.
        pixels: the name of what comes first, where a result is not a dict.

    Raises:
        ValueError: the processor has no such thing.
    """

    def __init__(self, processor: Any, where: str, pixels: str) -> None:
        self._processor = processor
        self._pixels = pixels
        self._thread = threading.local()
        self._module, self._function = None, where.removesuffix("()")
        if where.endswith("()"):
            self._module = sys.modules[type(processor).__module__]
            self.target = getattr(self._module, self._function, None)
        else:
            self.target = resolve(processor, where)
        if self.target is None:
            raise ValueError(
                f"{type(processor).__name__} has no {where}; pass the processor that mlx_vlm.load "
                "returned, or None to attach the model alone"
            )
        self._patches = Patches.of(self.target)
        self._class = f"{type(self.target).__module__}.{type(self.target).__qualname__}"
        self.is_bare = where == ATTRIBUTE and isinstance(self.target, BaseImageProcessor)
        """Whether mlx-vlm would call it past the processor."""
        self.shown = self.target if where == ATTRIBUTE else None
        """What mlx-vlm finds as the processor's image processor when nothing is attached."""
        self._standing = self.target if self.shown is self.target and not self.is_bare else StandIn(self)

    @property
    def settings(self) -> dict[str, Any]:
        """What decides how pixels are made, besides the call's arguments."""
        if self._module is not None:
            return {}
        if hasattr(self.target, _INNER):
            getattr(self.target, _INNER)()  # which it would do next, and look like another one after it
        return {**vars(self.target), "class": self._class}

    def attach(self, undo: ExitStack, process: Callable[..., Any], wrapper: Callable[..., Any]) -> None:
        """Give the processor's calls to `process`, and the maker's to `wrapper`, until `undo`."""
        if self._module is not None:
            undo.enter_context(taken(self._module, self._function, wrapper))
        else:
            cls = type(self.target)
            methods = {n: around(cls, n, wrapper) for n in METHODS if hasattr(cls, n)}
            undo.enter_context(swapped(self.target, **methods))
        undo.enter_context(swapped(self._processor, **self.overrides(process)))

    def overrides(self, process: Callable[..., Any]) -> dict[str, Any]:
        """What the processor's own calls become, and what it shows as its image processor."""

        def call(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            try:
                return process(original, *args, **kwargs)
            except LeftAlone:
                self._thread.alone = True
                try:
                    return original(*args, **kwargs)
                finally:
                    self._thread.alone = False

        overrides: dict[str, Any] = {"__call__": around(type(self._processor), "__call__", call)}
        if self._standing is not self.target:
            shows = self._thread
            overrides[ATTRIBUTE] = property(
                lambda _: self.target if getattr(shows, "shows", False) else self._standing
            )
        return overrides

    @property
    def leaves_alone(self) -> bool:
        """Whether the processor does a call again, without the cache."""
        return getattr(self._thread, "alone", False)

    def is_seen_as(self, image_processor: Any) -> bool:
        """Whether this is what mlx-vlm finds as the attached processor's image processor."""
        return image_processor is self._standing or image_processor is self.target

    def prepare(self, image_token: int | None, *, text: Any, images: Any, **_: Any) -> Any:
        """What mlx-vlm makes of a prompt and images past the processor, where it would."""
        self._thread.shows = True
        try:
            return mlx_vlm.utils.prepare_inputs(
                self._processor, images=images, prompts=text, image_token_index=image_token
            )
        finally:
            self._thread.shows = False

    def quickest(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """The shortest way to what `original`, the maker itself, makes of one entry's images.

        On a CPU it would be no shorter: mlx looks numbers up on one core there.
        """
        patches = self._patches if on_gpu() else None
        return partial(patches.process, original) if patches is not None else original

    def unfold(self, result: Any) -> dict[str, Any]:
        """A result as a dict: a dict, a pair of one and something, a tuple, a list or an array."""
        if self.is_bare:  # as mlx-vlm makes one array of the list
            return {self._pixels: mx.array(np.stack(result))}
        if not isinstance(result, tuple):
            return dict(result) if hasattr(result, "keys") else {self._pixels: result}
        first, *others = result
        if hasattr(first, "keys"):
            return {**first, _SECOND: others[0]}
        return {self._pixels: first, **{f"({i})": other for i, other in enumerate(others, 1)}}

    def fold(self, outputs: dict[str, Any]) -> Any:
        """The result that `unfold` made this of."""
        others = [outputs[name] for name in outputs if name.startswith("(")]
        if _SECOND in outputs:
            return {n: value for n, value in outputs.items() if n != _SECOND}, *others
        if others:
            return outputs[self._pixels], *others
        return outputs[self._pixels] if self.is_bare or self._module is not None else outputs


class StandIn:
    """What mlx-vlm finds in the place of an image processor that it must not call or never had."""

    def __init__(self, maker: Maker) -> None:
        object.__setattr__(self, "_shown", maker.shown)

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "_shown"), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(object.__getattribute__(self, "_shown"), name, value)
