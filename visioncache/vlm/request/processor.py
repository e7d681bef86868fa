"""The processor's side of a request: images become tickets, and inputs that wait beside.

A known image gives the inputs that were stored beside its features; an unknown one goes through the
image processor alone, so that its inputs are its own. Either way the processor hands on a ticket.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten, tree_map
from transformers.image_processing_utils import BaseImageProcessor

from visioncache.keys import Key
from visioncache.sizes import dtype_of
from visioncache.vlm.families.canvas import Canvas, OnCanvas
from visioncache.vlm.families.image_processors import OPENING, LeftAlone, Preprocessor
from visioncache.vlm.fingerprint import Settings, settings_digest
from visioncache.vlm.request.arrays import repeatable
from visioncache.vlm.request.hits import describe, find, recall, stand_ins
from visioncache.vlm.request.image import SourceImage, are_unlike, open_source, take
from visioncache.vlm.request.lists import each, flat, identity, identity_of_one, sources_of
from visioncache.vlm.request.stand_in import stand_in
from visioncache.vlm.request.tickets import Item, Request, digest_of, numbered, to_mlx
from visioncache.vlm.training import is_for_training

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack

    from visioncache.vlm.attach import Attached
    from visioncache.vlm.families.trust import Trust


class ProcessorSide:
    """The processor and its image processor while they are attached."""

    def __init__(self, attached: Attached, processor: Any) -> None:
        self._attached = attached
        self._family = attached.family
        self._layout = attached.family.layout
        made_by, pixels = attached.family.preprocessor, self._layout.pixels[0]
        self._preprocessor = (
            Preprocessor(processor, made_by, pixels)
            if isinstance(made_by, str)
            else made_by(processor, pixels)
        )
        self.settings = Settings(processor, lambda: self._preprocessor.target)
        """Everything that decides how pixels are made, besides a call's arguments."""
        self._last_call: tuple[tuple[Any, ...], dict[str, Any]] = (), {}

    def install(self, undo: ExitStack) -> None:
        """Take the processor's calls, until `undo`."""
        self._preprocessor.install(undo, self._process, self._process_images)

    @property
    def blocked(self) -> str:
        """Say what of the processor can't be followed, if there is something."""
        return self._preprocessor.blocked

    def follow(self) -> None:
        """Go on with an image processor that took the place of the one before."""
        self._preprocessor.follow()

    def owns(self, image_processor: Any) -> bool:
        """Tell whether this is what mlx-vlm finds as the attached processor's image processor."""
        return self._preprocessor.is_seen_as(image_processor)

    @property
    def image_processor(self) -> Any:
        """The processor's image processor as mlx-vlm finds it when nothing is attached."""
        return self._preprocessor.shown

    @property
    def trust(self) -> Trust:
        """Tell which kinds of requests are believed without being compared."""
        return self._attached.trust

    def open(self, image: Any) -> SourceImage:
        """Identify an image for mlx-vlm's `process_image`, which opens and turns it or hands it on."""
        turned = isinstance(image, str) or self._family.name not in OPENING
        with self._attached.stages.measure("key"):
            return self._asked(open_source(image, **self._opening(turned=turned)))

    def _opening(self, *, turned: bool) -> dict[str, Any]:
        """Say how a path is opened; processors of transformers turn what they open, and make it RGB."""
        transpose = turned or isinstance(self.image_processor, BaseImageProcessor)
        as_rgb = transpose or self._preprocessor.converts
        return {"transpose": transpose, "as_rgb": as_rgb, "trust_urls": self._attached.trust_urls}

    def _asked(self, source: SourceImage) -> SourceImage:
        source.ask_size = self._size
        source.measure = partial(self._attached.stages.measure, "decode")
        return source

    # The processor ------------------------------------------------------------------------------

    def _process(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run the processor and hand on a ticket for its pixels."""
        # What could not be described may be gone; other settings are looked at when images are processed.
        transformed = self._attached.look() or (self.settings.opaque and self._is_opaque())
        if self._preprocessor.is_bare and kwargs.get("images") is not None:
            token = getattr(self._attached.model.config, "image_token_index", None)
            original = partial(self._preprocessor.prepare, token)
        if transformed or not self._attached.active or is_for_training():
            return original(*args, **kwargs)
        request = Request(self, repeatable(original, args, kwargs))
        with request.current(), self.settings.running(), numbered(self._attached.cache, [request]):
            outputs = original(*args, **kwargs)
        # mlx-vlm takes what a processor calls `images` for pixels.
        name = next((n for n in (self._layout.pixels[0], "images") if n in outputs), "")
        if request.items and not request.is_foreign and outputs.get(name) is not None:
            if isinstance(outputs[name], np.ndarray) and kwargs.get("return_tensors") == "mlx":
                outputs[name] = mx.array(outputs[name])  # mlx-vlm would copy it
            self._complete(request.items, outputs)
            self._hand_on(request, outputs, name)
        return outputs

    def _complete(self, items: list[Item], outputs: Any) -> None:
        """Give the images that are not known what the processor itself made beside their pixels."""
        given = {name: to_mlx(outputs[name]) for name in self._layout.names if name in outputs}
        if any(item.features is None and given.keys() - item.inputs for item in items):
            together = self._family.granularity == "request"
            for item, own in zip(items, [given] if together else self._layout.images(given), strict=True):
                item.inputs = {**own, **item.inputs} if item.features is None else {}

    def _hand_on(self, request: Request, outputs: Any, name: str) -> None:
        """Replace pixels by a ticket. Leave nothing lazy: a server's other thread couldn't evaluate it."""
        anchor, *others = self._layout.pixels
        replaced = {name if n == anchor else n for n in self._layout.pixels if n not in self._family.kept}
        for pixels in replaced & outputs.keys():
            outputs[pixels] = tree_map(partial(self._blank, request.digest), outputs[pixels])
        names = (name, *others, *self._layout.companions)
        made = [outputs[made] for made in names if outputs.get(made) is not None]
        every = tree_flatten([made, [item.inputs for item in request.items]])
        mx.eval([value for _, value in every if isinstance(value, mx.array)])
        whole = self._layout.completed({**outputs, anchor: outputs[name]})
        beside = {n: whole[n] for n in self._layout.names if n in whole and n != anchor}
        request.beside = {n: v for n, v in outputs.items() if n not in {name, *self._layout.names}}
        by_users = self.settings.has_users_code  # which may change what it consists of as it runs
        request.settings = self.settings.digest if by_users else self.settings.last
        self._attached.tickets.hold(outputs[name], beside, request)

    def _blank(self, digest: str, array: Any) -> Any:
        is_numpy = isinstance(array, np.ndarray)
        return stand_in(array.shape, str(dtype_of(array)), digest, as_numpy=is_numpy)

    def real(self, request: Request, *, whole: bool = False) -> dict[str, Any]:
        """Make the pixels that a ticket stands for, as the processor does without a cache.

        With `whole`, what came beside them is returned too.

        Raises:
            ValueError: an image, or the processor, is another one by now.
        """
        if self.settings.digest != request.settings:
            raise ValueError("the processor changed since these pixels were prepared; prepare them again")
        with Request.aside():
            outputs = request.again()
        for image, key in request.sources:
            source = self._source(image)
            if (source.key if isinstance(source, SourceImage) else Key.of(source)) != key:
                raise ValueError("an image changed since its pixels were prepared; prepare it again")
        anchor = self._layout.pixels[0]
        outputs = {anchor if name == "images" else name: value for name, value in outputs.items()}
        wanted = [*outputs] if whole else self._layout.pixels
        return {n: tree_map(to_mlx, outputs[n]) for n in wanted if outputs.get(n) is not None}

    # The image processor ------------------------------------------------------------------------

    def _size(self, image: SourceImage) -> tuple[int, int] | None:
        """Return the size of a known image, when the processor asks for it before it has it processed."""
        request = Request.of(self)
        together = self._family.granularity == "request"
        if request is None or request.is_foreign or together or self._is_opaque():
            return None
        # With the settings of the last call: a size is the same with all of them.
        item = self._look_up(request, image, self._scope(*self._last_call))
        request.asked[item.key.text] = item
        sizes = item.meta.get("sizes") if item.features is not None else None
        return tuple(sizes[0]) if sizes else None

    def _process_images(self, original: Callable[..., Any], images: Any, *args: Any, **kwargs: Any) -> Any:
        request = Request.of(self)
        if request is None or request.is_foreign:
            return original(images, *args, **kwargs)
        self._preprocessor.make_ready()
        if self._is_opaque():
            return self._foreign(request, partial(original, images, *args, **kwargs))
        self._last_call = args, kwargs
        scope = self._scope(args, kwargs)
        with Request.aside():  # an image processor that calls itself is asked once
            sources = each(self._source, images)
            every = flat(sources)
            if any(one is None for one in every) or are_unlike(every, self.image_processor, kwargs):
                return self._foreign(request, partial(original, images, *args, **kwargs))
            together = self._family.granularity == "request" or self._layout.inseparable(images)
            alone = not isinstance(sources, list)
            groups = [sources] if together or alone else [[source] for source in every]
            if not groups:
                return original(images, *args, **kwargs)

            quickest = original
            if self.trust.proven:
                quickest = self._preprocessor.quickest(original, scope.rpartition("/")[0])

            def process(group: Any) -> dict[str, Any]:
                return self._processed(partial(quickest, group, *args, **kwargs), group)

            one: Callable[[Any], dict[str, Any]] = process
            if isinstance(self._layout, Canvas) and not together:
                alone_key = partial(identity_of_one, scope=scope)
                canvas = OnCanvas(self._layout, process, alone_key, every)
                one, scope = canvas.process, f"{scope}/{canvas.size}"
            outputs = [self._one(request, one, group, scope) for group in groups]
            for image, source in zip(flat(images), every, strict=True):
                request.sources.append((image, identity_of_one(source, "")[0].unscoped))
        whole = alone or together
        return self._preprocessor.fold(outputs[0] if whole else self._layout.gathered(outputs, sources))

    def _is_opaque(self) -> bool:
        """Look at the settings; tell if they can't be described, or a transformation put some there."""
        return self.settings.look() or bool(self.settings.opaque)

    def _foreign(self, request: Request, process: Callable[[], Any]) -> Any:
        """Process images that have no identity, and leave the rest of this call alone too."""
        if request.items:
            raise TypeError("an image can't be identified: give a path, a PIL image or an array of numbers")
        request.is_foreign = True
        return process()

    def _processed(self, process: Callable[[], Any], group: Any) -> dict[str, Any]:
        """Process one entry's images, which the image processor may decode."""
        for source in sources_of(group):
            source.load()
        with self._attached.stages.measure("preprocess"):
            made: dict[str, Any] = self._layout.arrayed(self._preprocessor.unfold(process()))
            return made

    def _one(
        self, request: Request, process: Callable[[Any], dict[str, Any]], group: Any, scope: str
    ) -> dict[str, Any]:
        """Return the outputs for one entry's images, with stand-ins for their pixels."""
        item = self._look_up(request, group, scope)
        as_numpy = self._layout.numpy
        if item.features is None and not item.meta:
            outputs = self._prepare(item, process, group, scope)
            request.prepared[item.key.text] = item
            pixels = stand_ins(item.meta, digest_of([item.key]), as_numpy=as_numpy)
            outputs.update({n: v for n, v in pixels.items() if n not in self._family.kept})
        else:
            outputs = recall(item.meta, digest_of([item.key]), as_numpy=as_numpy)
            known = item.inputs if item.features is None else item.features
            outputs.update({name: known[name] for name in self._family.kept})
            for source, size in zip(sources_of(group), item.meta.get("sizes", ()), strict=False):
                source.known_size = source.known_size or tuple(size)
        request.items.append(item)
        return outputs

    def _prepare(
        self, item: Item, process: Callable[[Any], dict[str, Any]], group: Any, scope: str
    ) -> dict[str, Any]:
        """Make the inputs of an item that is not known, and what is stored beside its features."""
        before = self._attached.stages.spent_here()
        outputs = process(group)
        if not self._layout.fits(outputs):
            raise LeftAlone
        sources = sources_of(group)
        if sources:
            # A file may have changed since it was identified: what was decoded counts.
            item.key, _ = identity(group, scope)
        item.seconds = self._attached.stages.spent_here() - before
        item.meta = describe(outputs, self._layout)
        item.meta["sizes"] = [list(source.size) for source in sources]
        item.inputs = {n: to_mlx(v) for n, v in outputs.items() if n in self._layout.names}
        self._attached.thumbnails.make(item.key, flat(group)[0])
        return outputs

    def _look_up(self, request: Request, group: Any, scope: str) -> Item:
        """Return an item, with its features when they are known; one that was asked about is held already."""
        key, label = identity(group, scope)
        item = request.prepared.get(key.text) or request.asked.pop(key.text, None)
        if item is None:
            item = Item(key, label)
            find(self._attached.cache, item)
        return item

    def _source(self, image: Any) -> Any:
        with self._attached.stages.measure("key"):
            source = take(image, **self._opening(turned=False))
        return self._asked(source) if isinstance(source, SourceImage) else source

    def _scope(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Return the scope as of the last looks at the model and at the settings, with those of a call."""
        call = settings_digest(args, kwargs)
        return f"{self._attached.last_scope}/{self.settings.last}/{call}"
