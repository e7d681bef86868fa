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
from mlx.utils import tree_flatten
from PIL import Image
from transformers.image_processing_utils import BaseImageProcessor

from visioncache.keys import Key
from visioncache.vlm.families.canvas import Canvas, OnCanvas
from visioncache.vlm.families.image_processors import Maker
from visioncache.vlm.fingerprint import settings_digest
from visioncache.vlm.request.image import SourceImage, open_source
from visioncache.vlm.request.recall import describe, dtype_of, recall
from visioncache.vlm.request.standin import stand_in
from visioncache.vlm.request.tickets import Part, alias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import ExitStack

    from visioncache.vlm.attach import Attached


class PixelSide:
    """The processor and its image processor while they are attached."""

    def __init__(self, attached: Attached, processor: Any) -> None:
        self._attached = attached
        self._layout = attached.family.layout
        maker, pixels = attached.family.maker, self._layout.pixels[0]
        self._maker = Maker(processor, maker, pixels) if isinstance(maker, str) else maker(processor, pixels)
        self._thread = threading.local()

    def attach(self, undo: ExitStack) -> None:
        """Take the processor's calls, until `undo`."""
        self._maker.attach(undo, self._process, self._process_images)

    def owns(self, image_processor: Any) -> bool:
        """Whether this is what mlx-vlm finds as the attached processor's image processor."""
        return self._maker.is_seen_as(image_processor)

    @property
    def image_processor(self) -> Any:
        """What mlx-vlm finds there when nothing is attached."""
        return self._maker.shown

    def open(self, image: Any, *, transpose: bool = True) -> SourceImage:
        """What mlx-vlm's `process_image` gives the processor instead of a decoded image."""
        with self._attached.stages.measure("key"):
            source = open_source(image, transpose=transpose, trust_urls=self._attached.trust_urls)
        source.ask_size = self._size
        source.measure = partial(self._attached.stages.measure, "decode")
        return source

    # The processor ------------------------------------------------------------------------------

    def _process(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run the processor, and remember which images the pixels that it returns stand for."""
        if self._maker.is_bare and kwargs.get("images") is not None:
            token = getattr(self._attached.model.config, "image_token_index", None)
            original = partial(self._maker.prepare, token)
        with self._collect() as parts:
            outputs = original(*args, **kwargs)
            # mlx-vlm takes what a processor calls `images` for pixels.
            name = next((n for n in (self._layout.pixels[0], "images") if n in outputs), "")
            pixels = outputs.get(name) if parts else None
            if isinstance(pixels, np.ndarray) and kwargs.get("return_tensors") == "mlx":
                # mlx-vlm would make another object of it, which stood for nothing.
                pixels = outputs[name] = mx.array(pixels)
            if pixels is not None:
                self._complete(parts, outputs)
                self._settle(parts, outputs, (name, *self._layout.pixels[1:]))
                anchor = self._layout.pixels[0]
                whole = self._layout.completed({**outputs, anchor: outputs[name]})
                beside = {n: whole[n] for n in self._layout.names if n in whole and n != anchor}
                self._attached.requests.remember(outputs[name], beside, parts)
        return outputs

    def _complete(self, parts: list[Part], outputs: Any) -> None:
        """Give the images that are not known what the processor itself made beside their pixels."""
        given = {name: _to_mlx(outputs[name]) for name in self._layout.names if name in outputs}
        if any(part.features is None and given.keys() - part.inputs for part in parts):
            together = self._attached.family.granularity == "request"
            for part, own in zip(parts, [given] if together else self._layout.images(given), strict=True):
                part.inputs = {**own, **part.inputs} if part.features is None else {}

    def _settle(self, parts: list[Part], outputs: Any, pixels: tuple[str, ...]) -> None:
        """Leave nothing to be computed: a server's other thread couldn't evaluate what this one began.

        Pixels among which are stand-ins become one stand-in, which takes no memory.
        """
        kept = self._attached.family.kept
        for name in pixels if any(part.features is not None for part in parts) else ():
            value = outputs.get(name)
            if isinstance(value, mx.array) and name not in kept:
                outputs[name] = stand_in(value.shape, str(dtype_of(value)), _digest(parts))
        names = (*pixels, *self._layout.companions)
        made = [outputs[name] for name in names if outputs.get(name) is not None]
        every = tree_flatten([made, [part.inputs for part in parts]])
        mx.eval([value for _, value in every if isinstance(value, mx.array)])

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
        # With the settings of this thread's last call: a size is the same with all of them.
        part = self._look_up(image, self._scope(*getattr(self._thread, "last_call", ((), {}))))
        self._thread.asked[part.key.text] = part
        sizes = part.meta.get("sizes") if part.features is not None else None
        return tuple(sizes[0]) if sizes else None

    def _process_images(self, original: Callable[..., Any], images: Any, *args: Any, **kwargs: Any) -> Any:
        collected = self._collected()
        if collected is None:
            return original(images, *args, **kwargs)
        self._thread.last_call = args, kwargs
        scope = self._scope(args, kwargs)
        self._thread.inside = True
        try:
            sources = _each(self._source, images)
            if not all(map(_is_image, _flat(sources))):
                return self._foreign(collected, partial(original, images, *args, **kwargs))
            together = self._attached.family.granularity == "request" or self._layout.inseparable(images)
            alone = not isinstance(sources, list)
            groups = [sources] if together or alone else [[source] for source in _flat(sources)]
            if not groups:
                return original(images, *args, **kwargs)

            quickest = self._maker.quickest(original)

            def process(group: Any) -> dict[str, Any]:
                return self._processed(partial(quickest, group, *args, **kwargs), group)

            one: Callable[[Any], dict[str, Any]] = process
            if isinstance(self._layout, Canvas) and not together:
                alone_key = partial(_identity_of_one, scope=scope)
                canvas = OnCanvas(self._layout, process, alone_key, _flat(sources))
                one, scope = canvas.process, f"{scope}/{canvas.size}"
            outputs = [self._one(one, group, scope, collected) for group in groups]
        finally:
            self._thread.inside = False
        whole = alone or together
        return self._maker.fold(outputs[0] if whole else self._layout.gathered(outputs, sources))

    def _foreign(self, collected: list[Part], process: Callable[[], Any]) -> Any:
        """Process images that have no identity, and leave the rest of this call alone too."""
        if collected:
            raise TypeError("an image can't be identified: give a path, a PIL image or an array of numbers")
        self._thread.parts = None
        return process()

    def _processed(self, process: Callable[[], Any], group: Any) -> dict[str, Any]:
        """What the image processor makes of images, which it may decode."""
        stages = self._attached.stages
        for source in _sources(group):
            source.load()
        with stages.measure("preprocess"):
            return self._stacked(self._maker.unfold(process()))

    def _one(
        self, process: Callable[[Any], dict[str, Any]], group: Any, scope: str, collected: list[Part]
    ) -> dict[str, Any]:
        """The inputs of one entry's images, from beside their features or from their pixels."""
        part = self._look_up(group, scope)
        sources = _sources(group)
        if part.features is None:
            before = self._attached.stages.totals()
            outputs = process(group)
            if sources:
                # A file may have changed since it was identified: what was decoded counts.
                part.key, _ = _identity(group, scope)
            part.seconds = sum(self._attached.stages.totals().since(before).seconds.values())
            part.meta = describe(outputs, self._layout.pixels)
            part.meta["sizes"] = [list(source.size) for source in sources]
            part.inputs = {n: _to_mlx(v) for n, v in outputs.items() if n in self._layout.names}
            self._attached.thumbnails.make(part.key, _flat(group)[0])
            if not self._layout.numpy:
                outputs.update({name: _to_mlx(part.inputs[name]) for name in self._layout.pixels})
        else:
            outputs = recall(part.meta, _digest([part]), as_numpy=self._layout.numpy)
            outputs.update({name: part.features[name] for name in self._attached.family.kept})
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
            views = outputs[name]
            if isinstance(views, (list, tuple)) and not isinstance(views[0], (list, tuple)):
                outputs[name] = np.stack(views)
        return outputs

    def _source(self, image: Any) -> Any:
        if isinstance(image, (str, Path)):
            # Handed to the processor itself; those of transformers open it, and turn it upright.
            return self.open(image, transpose=isinstance(self.image_processor, BaseImageProcessor))
        if isinstance(image, Image.Image) and image.mode == "RGB":
            return self.open(image, transpose=False)
        return image  # of another mode: the processor itself decides what becomes of it

    def _scope(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """The model's scope, and every setting that decides how pixels are made."""
        call = settings_digest(list(args), kwargs, self._maker.settings)
        return f"{self._attached.scope}/{call}"


def _is_image(source: Any) -> bool:
    """Whether an image has an identity: not lists of numbers, masked arrays or arrays of objects."""
    if hasattr(source, "dtype"):
        return str(source.dtype) != "object" and not isinstance(source, np.ma.MaskedArray)
    return isinstance(source, (Image.Image, bytes))


def _sources(group: Any) -> list[SourceImage]:
    return [image for image in _flat(group) if isinstance(image, SourceImage)]


def _digest(parts: list[Part]) -> str:
    """What stand-ins for images spell."""
    text = Key.of([part.key for part in parts]).text if len(parts) > 1 else parts[0].key.text
    return Key.from_bytes(text.encode("utf-8", "surrogatepass")).text[2:]


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


def _to_mlx(value: Any) -> Any:
    """The same numbers for MLX, in an array that nobody else can write into."""
    if isinstance(value, list):
        return [alias(item) for item in value]
    return mx.array(value) if isinstance(value, np.ndarray) else alias(value)
