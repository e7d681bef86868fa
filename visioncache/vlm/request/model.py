"""Features: the model's side of an attachment, where each image is encoded once."""

from __future__ import annotations

import inspect
import threading
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np

from visioncache.keys import Key
from visioncache.sizes import leaves
from visioncache.vlm.families.recognise import confirm
from visioncache.vlm.patching.instances import around, is_swapped, resolve, swapped, taken
from visioncache.vlm.request.standin import is_stand_in
from visioncache.vlm.request.tickets import Part
from visioncache.vlm.speedups.scatter import NAME, scatter, slow_scatters
from visioncache.vlm.trees import owned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import ExitStack

    from visioncache.vlm.attach import Attached

_TEXT = ("input_ids", "mask", "attention_mask")

VIDEO = {"pixel_values": "pixel_values_videos", "image_grid_thw": "video_grid_thw"}
AUDIO = "input_features"


class _Caught(Exception):  # noqa: N818  # no error: it ends an encode at the seam
    def __init__(self, value: Any) -> None:
        super().__init__("caught at the seam")
        self.value = value


class FeatureSide:
    """The model and its seam while they are attached."""

    def __init__(self, attached: Attached, model: Any) -> None:
        self._attached = attached
        self._family = attached.family
        self._model = model
        self._embedder = resolve(model, self._family.embedder) if self._family.embedder else model
        self._module = resolve(model, self._family.seam)
        self._thread = threading.local()

    @property
    def _calls(self) -> int | None:
        return self._family.calls(self._model) if self._family.calls else None

    def attach(self, undo: ExitStack) -> None:
        """Take the model's calls, until `undo`; RuntimeError where another model's share them."""
        for shared in (self._embedder, self._module):
            if is_swapped(shared):
                raise RuntimeError(
                    f"another model that is attached shares this {type(shared).__name__}; detach() that first"
                )
        cls = type(self._embedder)
        overrides: dict[str, Any] = {
            name: around(cls, name, partial(self._enter, inspect.signature(getattr(cls, name))))
            for name in self._family.entrances
        }
        for name in ("encode_image", "encode_images"):
            # mlx-vlm's own cache asks for these first; it must not encode stand-ins.
            if hasattr(cls, name):
                overrides[name] = property(partial(self._hidden, getattr(cls, name)))
        if inspect.ismethod(self._module) or inspect.isfunction(self._module):
            seam = around(cls, self._family.seam, self._at_seam)
            hidden = self._family.seam in overrides
            overrides[self._family.seam] = property(partial(self._hidden, seam)) if hidden else seam
        else:
            seam = around(type(self._module), "__call__", self._at_seam)
            undo.enter_context(swapped(self._module, __call__=seam))
        undo.enter_context(swapped(self._embedder, **overrides))
        for module in slow_scatters(self._embedder):
            undo.enter_context(taken(module, NAME, self._scatter))
        if self._embedder is not self._model:
            undo.enter_context(swapped(self._model))  # nothing to take, but it is attached

    def _enter(self, *args: Any, **kwargs: Any) -> Any:
        """Embed a prompt, inside of which the model may encode by whatever name it likes."""
        outer = getattr(self._thread, "within", False)
        self._thread.within = True
        try:
            return self._embed(*args, **kwargs)
        finally:
            self._thread.within = outer

    def _scatter(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        # Others' models call it too, and this one while it is bypassed.
        own = self._attached.active and getattr(self._thread, "within", False)
        return scatter(original, *args, **kwargs) if own else original(*args, **kwargs)

    def _hidden(self, function: Callable[..., Any], model: Any) -> Any:
        if getattr(self._thread, "within", False):
            return function.__get__(model)
        raise AttributeError("to encode an image is the cache's business while it is attached")

    def _embed(
        self, signature: inspect.Signature, original: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        """Embed a prompt, with each image's value from the cache or encoded alone."""
        inputs = self._arguments(signature, args, kwargs)
        images = self._parts(inputs, {})
        videos = self._parts(inputs, VIDEO) if self._family.video else []
        if not images and not videos:
            return original(*args, **kwargs)
        inputs = self._family.layout.completed(inputs)
        for name in ("vision_cache", "_image_key", "cached_image_features"):
            inputs.pop(name, None)

        def encode(part: Part) -> Any:
            with self._attached.stages.measure("tower"):
                features = self._family.keep(self._caught(original, inputs, part))
                features = self._family.layout.given(features, part.inputs)
                if self._family.recognised:  # nothing is stored unless it is confirmed
                    confirm(original(**inputs), inputs, partial(self._given, original, [features]))
                kept = {name: part.inputs[name] for name in self._family.kept}
                value = owned({"features": features, **kept} if kept else features)
                if not self._current([part]):
                    raise RuntimeError("the model was changed while it encoded an image; ask again")
                return value

        values: list[Any] = []
        for parts in (images, videos):
            own = [self._attached.lookup.encode(part, encode) for part in parts]
            if self._family.kept:
                own = [value["features"] for value in own]
            if self._calls:
                values += [one for of_all_calls in own for one in of_all_calls]
            elif own:
                join = self._family.join
                values += [self._family.layout.united(own, inputs, join)] if join else own
        return self._given(original, values, inputs)

    def _given(self, original: Callable[..., Any], values: list[Any], inputs: dict[str, Any]) -> Any:
        """What the model embeds when it is given the values."""
        if self._family.inject == "kwarg":
            return original(**inputs, cached_image_features=values[0])
        with self._seam("give", values.copy()):
            return original(**inputs)

    def _arguments(
        self, signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        bound = signature.bind(self._embedder, *args, **kwargs).arguments
        extra = bound.pop("kwargs", {})
        bound.pop("self", None)
        return {**bound, **extra}

    def _parts(self, inputs: dict[str, Any], names: dict[str, str]) -> list[Part]:
        """The images (or, by the names in `names`, the videos) of a request."""
        layout = self._family.layout
        anchor = names.get(layout.pixels[0], layout.pixels[0])
        pixels = inputs.get(anchor)
        if pixels is None:
            return []
        known = self._attached.requests.find(pixels, layout.completed(inputs))
        if known is not None and self._current(known):
            return known
        if any(map(is_stand_in, leaves(pixels))):
            if known is not None:
                raise ValueError(
                    f"the model is another one than when {anchor} was prepared for it; prepare it again"
                )
            raise ValueError(
                f"{anchor} was changed on its way from the attached processor to the model; "
                "pass on what the processor returned, or attach(model, None, cache)"
            )
        if not self._attached.active:
            return []
        theirs = {names.get(n, n): n for n in layout.names}
        ours = {n: inputs[t] for t, n in theirs.items() if inputs.get(t) is not None}
        if self._family.recognised:  # nothing says which inputs decide with the pixels: all may
            ours.update({n: v for n, v in inputs.items() if n not in _TEXT and _is_data(v)})
        together = self._family.granularity == "request"
        return [self._prepared(part, names) for part in ([ours] if together else layout.images(ours))]

    def _current(self, parts: list[Part]) -> bool:
        """Whether the model still is what it was when these were looked up."""
        scope = f"{self._attached.scope}/"
        return all((part.key.scope or "").startswith(scope) for part in parts)

    def _prepared(self, image: dict[str, Any], names: dict[str, str]) -> Part:
        """A part whose identity is the content of inputs that somebody else prepared."""
        with self._attached.stages.measure("key"):
            key = Key.of([_content(image[name]) for name in sorted(image)])
        kind = "video" if names else "pixels"
        part = Part(key.scoped(f"{self._attached.scope}/{kind}"), kind)
        part.inputs = {names.get(name, name): value for name, value in image.items()}
        self._attached.lookup.find(part)
        return part

    def _caught(self, original: Callable[..., Any], inputs: dict[str, Any], part: Part) -> Any:
        """What the seam returns for one image alone; the model's code after it does not run."""
        # What belongs to the request's other images must not reach this one; sound would be encoded too.
        theirs = {*self._family.layout.names, *VIDEO, *VIDEO.values(), AUDIO}
        others = {name: value for name, value in inputs.items() if name not in theirs}
        with self._seam("catch", []):
            try:
                inputs = self._family.layout.completed({**others, **part.inputs})
                if self._family.encode:
                    self._family.encode(self._model, inputs)
                else:
                    original(**self._family.alone(self._model, inputs))
            except _Caught as caught:
                return caught.value
        raise RuntimeError(
            f"{self._family.name}: {self._family.seam!r} was not called for an image; "
            "this version of mlx-vlm is laid out differently"
        )

    @contextmanager
    def _seam(self, mode: str, values: list[Any]) -> Iterator[None]:
        outer = getattr(self._thread, "mode", None)
        self._thread.mode = (mode, values)
        try:
            yield
        finally:
            self._thread.mode = outer

    def _at_seam(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        mode, values = getattr(self._thread, "mode", None) or ("", [])
        if mode == "give" and values:  # it may also encode what no part stands for
            return self._family.give(values.pop(0))
        output = original(*args, **kwargs)
        if mode == "catch":
            values.append(output)
            if self._calls is None:
                raise _Caught(output)
            if len(values) == self._calls:
                raise _Caught(values)
        return output


def _is_data(value: Any) -> bool:
    return isinstance(value, (mx.array, np.ndarray, list, tuple))


def _content(value: Any) -> Key:
    """The identity of one input: arrays by their content, sizes and settings as they are written."""
    if isinstance(value, (list, tuple)):
        return Key.of([_content(item) for item in value])
    return Key.of(value) if hasattr(value, "dtype") else Key.from_source(repr(value))
