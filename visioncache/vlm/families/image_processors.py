"""Image processors: where a processor turns images into pixels, and the forms that its results come in.

Mostly that is `processor.image_processor`, which the processor calls. It can be another attribute, or a
function of the processor's module. An image processor of mlx-vlm's own kind is called by
`prepare_inputs`, past the processor: while attached, the processor hides it and takes that call itself.
"""

from __future__ import annotations

import inspect
import sys
import threading
from copy import copy, deepcopy
from functools import partial
from operator import getitem
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import mlx_vlm.utils
import numpy as np
from mlx_vlm.models.base import BaseImageProcessor

from visioncache.vlm.patching.functions import taken
from visioncache.vlm.patching.instances import Patch, around, class_of, resolve, shown
from visioncache.vlm.speedups.qwen_pixels import QwenPixels

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack

ATTRIBUTE = "image_processor"
METHODS = ("__call__", "preprocess", "preprocess_image")
_INNER = "_get_transformers_image_processor"
"""GLM-OCR's: it makes the image processor of transformers that takes its place where torch is installed."""
_SECOND = "(second)"
"""Stands for the second of a pair whose first is a dict."""

OPENING = frozenset(
    {
        "cohere_compass", "d1", "falcon_ocr", "falcon_perception", "glm5_next", "lfm2_vl", "minimax_m3_vl",
        "muse_glimmer",
    }
)  # fmt: skip
"""Families that open a `pathlib.Path` themselves, and do not turn it upright. mlx-vlm refuses one with
others: a cache takes it for the same path as text."""


class LeftAlone(Exception):  # noqa: N818  # no error: what was asked is done in another way
    """Raised inside a processor's call whose images are no images of their own: it is done again, alone."""


class Preprocessor:
    """A processor's way from images to pixels.

    Args:
        processor: the processor.
        where: the path of an attribute of it, or `name()`: a function of its module, which it calls
            for one image after the other.
        pixels: the name of the first result, where results are not a dict.

    Raises:
        ValueError: the processor has no such thing.
    """

    def __init__(self, processor: Any, where: str, pixels: str) -> None:
        self._processor = processor
        self._where = where
        self._pixels = pixels
        self._thread = threading.local()
        self._function = where.removesuffix("()")
        self._module = self._module_of(class_of(processor)) if where.endswith("()") else None
        if self.target is None:
            raise ValueError(
                f"{type(processor).__name__} has no {where}; pass the processor that mlx_vlm.load "
                "returned, or None to attach the model alone"
            )
        self._quick = QwenPixels.of(self.target)
        self._hides = self.is_bare or self.shown is not self.target
        self._hidden = Hidden(self)
        self._patches: list[Patch] = []

    def _module_of(self, kind: type) -> Any:
        """Return the module that has the function: of a processor's class, or of a base of it."""
        modules = [sys.modules[base.__module__] for base in kind.__mro__ if base.__module__ in sys.modules]
        return next((one for one in modules if hasattr(one, self._function)), modules[0])

    @property
    def target(self) -> Any:
        """The image processor as it is now: another one may be put in its place."""
        if self._module is not None:
            return getattr(self._module, self._function, None)
        return resolve(self._processor, self._where)

    @property
    def is_bare(self) -> bool:
        """Tell whether mlx-vlm would call it past the processor."""
        return self._where == ATTRIBUTE and isinstance(self.target, BaseImageProcessor)

    @property
    def shown(self) -> Any:
        """The processor's image processor as mlx-vlm finds it when nothing is attached."""
        return self.target if self._where == ATTRIBUTE else None

    @property
    def converts(self) -> bool:
        """Tell whether it makes RGB of what it opens itself."""
        return getattr(self.shown, "do_convert_rgb", True) is not False

    def make_ready(self) -> None:
        """Let the image processor make what it makes for itself before its first image, as it would next.

        That lasts, with the settings of this moment: not sooner, and before it is described.
        """
        if hasattr(self.target, _INNER):
            getattr(self.target, _INNER)()

    def install(self, undo: ExitStack, process: Callable[..., Any], wrapper: Callable[..., Any]) -> None:
        """Give the processor's calls to `process`, and the image processor's to `wrapper`, until `undo`."""
        if self._module is not None:
            undo.enter_context(taken(self._module, self._function, wrapper))
        self._patches = self.patches(process, wrapper)
        for patch in self._patches:
            patch.install(undo)

    @property
    def blocked(self) -> str:
        """Say that the image processor can't be followed, if that is so."""
        kind = next((patch.blocked for patch in self._patches if patch.blocked), "")
        return kind and f"{self._where} is a {kind}, and its calls can't be followed"

    def follow(self) -> None:
        """Go on with the image processor that took the place of the one before."""
        for patch in self._patches:
            patch.follow()

    def patches(self, process: Callable[..., Any], wrapper: Callable[..., Any]) -> list[Patch]:
        """Return the patches of the processor and its image processor."""

        def methods(target: Any) -> dict[str, Any]:
            if self._quick is None or not self._quick.is_of(target):
                self._quick = QwenPixels.of(target)
            return {n: around(target, n, wrapper) for n in METHODS if hasattr(class_of(target), n)}

        of_processor = self.patch_of_processor(process)
        return [of_processor] if self._module is not None else [self.patch_of_target(methods), of_processor]

    def patch_of_target(self, overrides: Callable[[Any], dict[str, Any]]) -> Patch:
        """Return a patch of the image processor, whichever it is."""
        return Patch(lambda: self.target, overrides, needed=True)

    def patch_of_processor(self, process: Callable[..., Any], more: dict[str, Any] | None = None) -> Patch:
        """Return a patch that gives the processor's calls to `process` and hides its image processor."""

        def call(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            try:
                return process(original, *args, **kwargs)
            except LeftAlone:
                self._thread.alone = True
                try:
                    return original(*args, **kwargs)
                finally:
                    self._thread.alone = False

        def show(_: Any) -> Any:
            return self.shown if getattr(self._thread, "shows", False) else self._hidden

        def overrides(processor: Any) -> dict[str, Any]:
            own = {"__call__": around(processor, "__call__", call), **(more or {})}
            return {**own, ATTRIBUTE: shown(processor, ATTRIBUTE, show)} if self._hides else own

        return Patch(lambda: self._processor, overrides, needed=True)

    @property
    def leaves_alone(self) -> bool:
        """Tell whether the processor does a call again, without the cache."""
        return getattr(self._thread, "alone", False)

    def is_seen_as(self, image_processor: Any) -> bool:
        """Tell whether this is what mlx-vlm finds as the attached processor's image processor."""
        return image_processor is self._hidden or image_processor is self.target

    def prepare(self, image_token: int | None, *, text: Any, images: Any, **_: Any) -> Any:
        """Prepare a prompt and images past the processor, as mlx-vlm does."""
        self._thread.shows = True
        try:
            return mlx_vlm.utils.prepare_inputs(
                self._processor, images=images, prompts=text, image_token_index=image_token
            )
        finally:
            self._thread.shows = False

    def quickest(self, original: Callable[..., Any], settings: str) -> Callable[..., Any]:
        """Return the quickest way to what `original` makes of one entry's images with these settings."""
        return original if self._quick is None else partial(self._quick.process, original, settings)

    def unfold(self, result: Any) -> dict[str, Any]:
        """Return a result as a dict: a dict, a pair of one and something, a tuple, a list or an array."""
        if self.is_bare:  # as mlx-vlm makes one array of the list
            return {self._pixels: mx.array(np.stack(result))}
        if not isinstance(result, tuple):
            return dict(result) if hasattr(result, "keys") else {self._pixels: result}
        first, *others = result
        if hasattr(first, "keys"):
            return {**first, _SECOND: others[0]}
        return {self._pixels: first, **{f"({i})": other for i, other in enumerate(others, 1)}}

    def fold(self, outputs: dict[str, Any]) -> Any:
        """Return the result that `unfold` made a dict of."""
        others = [outputs[name] for name in outputs if name.startswith("(")]
        if _SECOND in outputs:
            return {n: value for n, value in outputs.items() if n != _SECOND}, *others
        if others:
            return outputs[self._pixels], *others
        return outputs[self._pixels] if self.is_bare or self._module is not None else outputs


class Stills(Preprocessor):
    """The image processor of a processor that gives frames of films to it, each with its time beside it.

    What a frame becomes depends on its time then: a call with films is left alone.
    """

    def __init__(self, processor: Any, pixels: str) -> None:
        super().__init__(processor, ATTRIBUTE, pixels)

    def patch_of_processor(self, process: Callable[..., Any], more: dict[str, Any] | None = None) -> Patch:
        """Return a patch that gives the calls without films to `process`."""

        def without_films(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            if inspect.signature(original).bind(*args, **kwargs).arguments.get("videos") is not None:
                raise LeftAlone
            return process(original, *args, **kwargs)

        return super().patch_of_processor(without_films, more)


class Hidden:
    """Stands in the place of an image processor that mlx-vlm must not call, or that there never was."""

    def __init__(self, preprocessor: Preprocessor) -> None:
        object.__setattr__(self, "_preprocessor", preprocessor)

    def __getattr__(self, name: str) -> Any:
        if name == "_preprocessor":  # of a copy that is being made
            raise AttributeError(name)
        return getattr(self._preprocessor.shown, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._preprocessor.shown, name, value)

    def __copy__(self) -> Any:
        return copy(self._preprocessor.shown)

    def __deepcopy__(self, memo: Any) -> Any:
        return deepcopy(self._preprocessor.shown, memo)

    def __reduce__(self) -> Any:  # to the image processor, which is read without this package
        return getitem, ([self._preprocessor.shown], 0)
