"""Pixels: the processor's side of an attachment, where images become the model's inputs.

A known image gives the inputs that were stored beside its features, with stand-ins for its pixels;
an unknown one goes through the image processor alone, so that its inputs are its own.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from PIL import Image

from visioncache.keys import Key
from visioncache.vlm.bare import hiding, is_bare, preparing, stacked
from visioncache.vlm.fingerprint import settings_digest
from visioncache.vlm.parts import Part
from visioncache.vlm.sources import SourceImage, open_source
from visioncache.vlm.standin import stand_in
from visioncache.vlm.swap import around, restore, swap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from visioncache.vlm.attach import Attached


_SECOND = "(second)"
"""Stands for the second of the two things that an image processor returns."""


class PixelSide:
    """The processor and its image processor while they are attached."""

    def __init__(self, attached: Attached, processor: Any) -> None:
        self._attached = attached
        self._processor = processor
        self._image_processor = processor.image_processor
        self._bare = is_bare(processor)
        self._layout = attached.family.layout
        self._thread = threading.local()
        self._last_call: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})
        """With which settings the processor called its image processor."""

    def attach(self) -> None:
        """Take the processor's calls."""
        cls = type(self._image_processor)
        calls = [name for name in ("__call__", "preprocess") if hasattr(cls, name)]
        bare = {"image_processor": hiding(self._processor, self._thread)} if self._bare else {}
        swap(self._image_processor, **{n: around(cls, n, self._process_images) for n in calls})
        swap(self._processor, __call__=around(type(self._processor), "__call__", self._process), **bare)

    def detach(self) -> None:
        """Give them back."""
        restore(self._processor)
        restore(self._image_processor)

    def own(self, image_processor: Any) -> Any:
        """The image processor that is attached, if this is it or stands for it; else None."""
        theirs = image_processor is self._image_processor or (
            self._bare and image_processor is self._processor.image_processor
        )
        return self._image_processor if theirs else None

    def open(self, image: Any, *, transpose: bool = True) -> SourceImage:
        """What mlx-vlm's `process_image` gives the processor instead of a decoded image."""
        with self._attached.stages.measure("key"):
            source = open_source(image, transpose=transpose, trust_urls=self._attached.trust_urls)
        source.ask_size = self._size
        return source

    # The processor ------------------------------------------------------------------------------

    def _process(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run the processor, and remember which images the pixels that it returns stand for."""
        if self._bare and kwargs.get("images") is not None:
            token = getattr(self._attached.model.config, "image_token_index", None)
            original = preparing(self._processor, self._thread, token)
        with self._collect() as parts:
            outputs = original(*args, **kwargs)
            pixels = outputs.get(self._layout.pixels[0]) if parts else None
            if pixels is not None:
                self._attached.requests.remember(pixels, parts)
        return outputs

    @contextmanager
    def _collect(self) -> Iterator[list[Part]]:
        outer = getattr(self._thread, "parts", None), getattr(self._thread, "asked", {})
        self._thread.parts, self._thread.asked = [], {}
        try:
            yield self._thread.parts
        finally:
            self._thread.parts, self._thread.asked = outer

    # The image processor ------------------------------------------------------------------------

    def _collected(self) -> list[Part] | None:
        """Where the parts of the processor's call go; None in calls that are none of its own."""
        aside = getattr(self._thread, "inside", False) or not self._attached.active
        return None if aside else getattr(self._thread, "parts", None)

    def _size(self, image: SourceImage) -> tuple[int, int] | None:
        """The size of a known image, when the processor asks for it before it has it processed."""
        if self._collected() is None or self._attached.family.granularity == "request":
            return None
        part = self._look_up(image, self._scope(*self._last_call))
        self._thread.asked[part.key.text] = part
        sizes = part.meta.get("sizes") if part.features is not None else None
        return tuple(sizes[0]) if sizes else None

    def _process_images(self, original: Callable[..., Any], images: Any, *args: Any, **kwargs: Any) -> Any:
        collected = self._collected()
        if collected is None:
            return original(images, *args, **kwargs)
        self._last_call = args, kwargs
        scope = self._scope(args, kwargs)
        self._thread.inside = True
        try:
            sources = _each(self._source, images)
            together = self._attached.family.granularity == "request" or self._layout.inseparable(images)
            outputs = [
                self._one(partial(original, group, *args, **kwargs), group, scope, collected)
                for group in ([sources] if together else [[source] for source in _flat(sources)])
            ]
        finally:
            self._thread.inside = False
        joined = self._layout.join(outputs)
        if self._bare:
            return joined[self._layout.pixels[0]]
        return (joined, joined.pop(_SECOND)) if _SECOND in joined else joined

    def _one(
        self, process: Callable[[], Any], group: Any, scope: str, collected: list[Part]
    ) -> dict[str, Any]:
        """The inputs of one entry's images, from beside their features or from their pixels."""
        part = self._look_up(group, scope)
        sources = [image for image in _flat(group) if isinstance(image, SourceImage)]
        if part.features is None:
            stages = self._attached.stages
            before = stages.totals()
            for source in sources:
                with stages.measure("decode"):
                    source.load()
            if sources:
                # A file may have changed since it was identified: what was decoded counts.
                part.key, _ = _identity(group, scope)
            with stages.measure("preprocess"):
                outputs = self._stacked(_as_dict(process()))
            part.seconds = sum(stages.totals().since(before).seconds.values())
            part.meta = self._describe(outputs)
            part.meta["sizes"] = [list(source.size) for source in sources]
            part.inputs = {n: _to_mlx(v) for n, v in outputs.items() if n in self._layout.names}
            self._attached.thumbnails.make(part.key, _flat(group)[0])
            if not self._layout.numpy:
                outputs.update({name: part.inputs[name] for name in self._layout.pixels})
        else:
            outputs = self._recall(part)
            for source, size in zip(sources, part.meta.get("sizes", ()), strict=False):
                source.known_size = source.known_size or tuple(size)
        collected.append(part)
        return outputs

    def _look_up(self, group: Any, scope: str) -> Part:
        """A part, with its features when they are known; one that was asked about is held already."""
        key, label = _identity(group, scope)
        part: Part | None = self._thread.asked.pop(key.text, None)
        if part is None:
            part = Part(key, label)
            self._attached.lookup.find(part)
        return part

    def _stacked(self, outputs: dict[str, Any]) -> dict[str, Any]:
        """One array where an image processor gives a list of an image's views."""
        for name in self._layout.pixels:
            if isinstance(outputs[name], (list, tuple)):
                outputs[name] = np.stack(outputs[name])
        return outputs

    def _describe(self, outputs: dict[str, Any]) -> dict[str, Any]:
        """What `_recall` needs: shapes of what only the vision side reads, values of the rest."""
        pixels = self._layout.pixels
        return {
            "pixels": {n: [list(outputs[n].shape), _dtype(outputs[n])] for n in pixels},
            "inputs": {
                name: {
                    "dtype": _dtype(value),
                    "data": _plain(value),
                    "mlx": isinstance(value, mx.array),
                }
                for name, value in outputs.items()
                if name not in pixels
            },
        }

    def _recall(self, part: Part) -> dict[str, Any]:
        """The image processor's outputs for a known image, no pixel of which is read."""
        digest = Key.from_bytes(part.key.text.encode("utf-8", "surrogatepass")).text[2:]
        outputs: dict[str, Any] = {
            name: self._stand_in(shape, dtype, digest) for name, (shape, dtype) in part.meta["pixels"].items()
        }
        for name, stored in part.meta["inputs"].items():
            data, dtype = stored["data"], stored["dtype"]
            array = data if dtype is None else np.array(data, dtype=dtype)
            outputs[name] = mx.array(array) if stored["mlx"] else array
        return outputs

    def _stand_in(self, shape: list[int], dtype: str, digest: str) -> Any:
        pixels = stand_in(shape, dtype, digest)
        return np.array(pixels) if self._layout.numpy else pixels

    def _source(self, image: Any) -> Any:
        if isinstance(image, SourceImage):
            return image
        if isinstance(image, (str, Path, Image.Image)):
            # Handed to the processor itself, which does not turn images upright.
            return self.open(image, transpose=False)
        return image

    def _scope(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """The model's scope, and every setting that decides how pixels are made."""
        call = settings_digest(list(args), kwargs, vars(self._image_processor))
        return f"{self._attached.scope}/{call}"


def _as_dict(outputs: Any) -> dict[str, Any]:
    """What an image processor returns, Gemma 4's pair of a dict and token counts or a mere list too."""
    if isinstance(outputs, list):
        return stacked(outputs)
    if isinstance(outputs, tuple):
        return {**outputs[0], _SECOND: outputs[1]}
    return dict(outputs)


def _identity(group: Any, scope: str) -> tuple[Key, str]:
    """The key and the label of one image in a list, or of lists of images, whose order counts."""
    if isinstance(group, list) and (len(group) != 1 or isinstance(group[0], list)):
        key = Key.of(_each(lambda image: _identity_of_one(image, "")[0], group))
        return key.scoped(scope), ", ".join(_identity_of_one(image, "")[1] for image in _flat(group))
    return _identity_of_one(group[0] if isinstance(group, list) else group, scope)


def _identity_of_one(source: Any, scope: str) -> tuple[Key, str]:
    if isinstance(source, SourceImage):
        return source.key.scoped(f"{scope}/{source.variant}"), source.label
    return Key.of(source).scoped(scope), type(source).__name__


def _each(change: Callable[[Any], Any], images: Any) -> Any:
    """The same lists of images, each image changed."""
    if isinstance(images, (list, tuple)):
        return [_each(change, image) for image in images]
    return change(images)


def _flat(images: Any) -> list[Any]:
    if isinstance(images, (list, tuple)):
        return [image for group in images for image in _flat(group)]
    return [images]


def _dtype(value: Any) -> str | None:
    return str(value.dtype).removeprefix("mlx.core.") if hasattr(value, "dtype") else None


def _plain(value: Any) -> Any:
    """Numbers in lists, whatever arrays they were in."""
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return np.asarray(value).tolist()


def _to_mlx(value: Any) -> Any:
    return mx.array(value) if isinstance(value, np.ndarray) else value
