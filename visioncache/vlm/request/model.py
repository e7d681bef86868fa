"""The model's side of a request: tickets become features, and features their places in the prompt.

Features are caught and given at the family's *seam*, the submodule or method that returns what the
language model is given of an image. An image that is not known is encoded there alone, once.
"""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np

from visioncache.keys import Key
from visioncache.vlm.families.recognise import confirm
from visioncache.vlm.families.trust import kind_of, package_of, unreadable
from visioncache.vlm.patching.functions import taken
from visioncache.vlm.patching.instances import Patch, around, class_of, resolve, shown
from visioncache.vlm.patching.missing import missing
from visioncache.vlm.prefixes.spelling import Shown
from visioncache.vlm.request.recall import encoded, find
from visioncache.vlm.request.tickets import Item, is_stand_in
from visioncache.vlm.request.tracing import is_traced
from visioncache.vlm.speedups.scatter import NAME, scatter, slow_scatters
from visioncache.vlm.trees import owned, token_count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import ExitStack

    from visioncache.vlm.attach import Attached
    from visioncache.vlm.families.family import Family
    from visioncache.vlm.request.tickets import Request

_TEXT = ("input_ids", "mask", "attention_mask")
_MLX_VLMS_CACHE = ("vision_cache", "_image_key", "cached_image_features")

VIDEO = {"pixel_values": "pixel_values_videos", "image_grid_thw": "video_grid_thw"}
AUDIO = "input_features"


class _Caught(Exception):  # noqa: N818  # no error: it ends an encode at the seam
    def __init__(self, value: Any) -> None:
        super().__init__("caught at the seam")
        self.value = value


@dataclass
class _Seam:
    """What happens at the seam while a prompt is embedded: values are caught there, or given."""

    owner: Any
    mode: str = ""
    values: list[Any] | None = None


class ModelSide:
    """The model and its seam while they are attached."""

    _now: ContextVar[_Seam | None] = ContextVar("seam", default=None)

    def __init__(self, attached: Attached, model: Any) -> None:
        self._attached = attached
        self._family: Family = attached.family
        self._model = model
        self._check_names()
        self._patches = [Patch(lambda: self._embedder, self._overrides)]
        if not self._is_method:
            at_module = Patch(
                lambda: resolve(model, self._family.seam),
                lambda module: {"__call__": around(module, "__call__", self._at_seam)},
            )
            self._patches.append(at_module)
        if self._family.embedder:  # nothing to take of the model itself, but it is attached
            self._patches.append(Patch(lambda: model, lambda _: {}))

    def _check_names(self) -> None:
        """See that the model has each name that the family is known by; MissingNameError if not."""
        family, embedder = self._family, self._embedder
        needed = {family.embedder: embedder, family.seam: resolve(self._model, family.seam)}
        entrances: dict[str, Any] = {n: getattr(class_of(embedder), n, None) for n in family.entrances}
        where, package = f"this {class_of(self._model).__name__}", package_of(self._model)
        for name, found in (needed | entrances).items():
            if not callable(found):
                raise missing(name, where, package)
        for name, entrance in entrances.items():
            kinds = {parameter.kind for parameter in inspect.signature(entrance).parameters.values()}
            if inspect.Parameter.VAR_POSITIONAL in kinds:  # pixels that are handed on have no name
                raise missing(f"{name}(..., {family.layout.pixels[0]})", where, package)

    @property
    def _embedder(self) -> Any:
        return resolve(self._model, self._family.embedder)

    @property
    def _is_method(self) -> bool:
        return callable(getattr(class_of(self._embedder), self._family.seam, None))

    def install(self, undo: ExitStack) -> None:
        """Take the model's calls, until `undo`; RuntimeError where another attached model shares them."""
        for patch in self._patches:
            patch.install(undo)
        for module in slow_scatters(self._embedder):
            undo.enter_context(taken(module, NAME, self._scatter))

    def follow(self) -> None:
        """Go on with submodules that took the place of those before."""
        for patch in self._patches:
            patch.follow()

    def _overrides(self, embedder: Any) -> dict[str, Any]:
        cls = class_of(embedder)
        overrides: dict[str, Any] = {
            name: around(embedder, name, partial(self._enter, inspect.signature(getattr(cls, name))))
            for name in self._family.entrances
        }
        for name in ("encode_image", "encode_images"):
            # mlx-vlm's own cache asks for these first; it must not encode tickets.
            if hasattr(cls, name):
                overrides[name] = shown(embedder, name, partial(self._hidden, getattr(cls, name)))
        if self._is_method:
            seam = around(embedder, self._family.seam, self._at_seam)
            if self._family.seam in overrides:
                seam = shown(embedder, self._family.seam, partial(self._hidden, seam))  # type: ignore[assignment]
            overrides[self._family.seam] = seam
        return overrides

    def _hidden(self, function: Callable[..., Any], model: Any) -> Any:
        if self._inside():
            return function.__get__(model)
        raise AttributeError("to encode an image is the cache's business while it is attached")

    def _inside(self) -> bool:
        now = self._now.get()
        return now is not None and now.owner is self

    def _scatter(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        # Others' models call it too, and this one while it is bypassed.
        own = self._attached.active and self._inside()
        return scatter(original, *args, **kwargs) if own else original(*args, **kwargs)

    # A prompt is embedded -----------------------------------------------------------------------

    def _enter(
        self, signature: inspect.Signature, original: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        """Embed a prompt; the model encodes by any name that it likes inside."""
        with self._seam("", None), self._attached.running():
            inputs = _arguments(signature, self._embedder, args, kwargs)
            if all(inputs.get(name) is None for name in self._anchors()):
                return original(*args, **kwargs)
            self._attached.follow()
            requests = {name: self._request(inputs, name) for name in self._anchors()}
            own = {name: request for name, request in requests.items() if request is not None}
            if not self._looks_up(inputs):
                return original(**self._real(inputs, own))
            if inputs.get("cached_image_features") is not None and inputs.get("vision_cache") is None:
                return self._steered(original, inputs, own)
            return self._embed(original, inputs, own)

    def _anchors(self) -> tuple[str, ...]:
        """Names of the inputs that identify images, and videos."""
        anchor = self._family.layout.pixels[0]
        return (anchor, VIDEO[anchor]) if self._family.video else (anchor,)

    def _looks_up(self, inputs: dict[str, Any]) -> bool:
        """Tell whether images may be looked up: not while the vision side trains or is transformed."""
        return self._attached.active and not (
            is_traced(leaves_of(inputs.values())) or self._attached.is_transformed()
        )

    def _request(self, inputs: dict[str, Any], anchor: str) -> Request | None:
        """Return the request that pixels are the ticket of; None for pixels that came from elsewhere.

        Raises:
            ValueError: they are a ticket that was edited, or edited inputs came with it.
        """
        pixels = inputs.get(anchor)
        if pixels is None:
            return None
        arrays = list(leaves_of([pixels]))
        if is_traced(arrays):
            if any(map(self._attached.tickets.may_hold, arrays)):
                raise ValueError(
                    f"{anchor} of the attached processor stand for an image and can't be differentiated or "
                    "compiled with; prepare them inside of attached.bypass()"
                )
            return None
        held = self._attached.tickets.find(pixels)
        edited = anchor if held is None else held.changed(self._family.layout.completed(inputs))
        if held is not None and not edited:
            return held.request
        if held is not None or any(map(is_stand_in, arrays)):
            raise ValueError(
                f"{edited} was changed on its way from the attached processor to the model; "
                "pass on what the processor returned, or attach(model, None, cache)"
            )
        return None

    def _real(self, inputs: dict[str, Any], requests: dict[str, Request]) -> dict[str, Any]:
        """Return the inputs with the pixels that tickets among them stand for."""
        for request in requests.values():
            inputs = {**inputs, **request.owner.real(request)}
        return inputs

    def _steered(
        self, original: Callable[..., Any], inputs: dict[str, Any], requests: dict[str, Request]
    ) -> Any:
        """Embed a prompt with the caller's own features; pixels are made again only if they are read."""
        features = original(**inputs)
        return original(**self._real(inputs, requests)) if requests and _holds_nan(features) else features

    def _embed(
        self, original: Callable[..., Any], inputs: dict[str, Any], requests: dict[str, Request]
    ) -> Any:
        """Embed a prompt, with each image's value from the cache or encoded alone."""
        names_of = {anchor: VIDEO if anchor == VIDEO["pixel_values"] else {} for anchor in self._anchors()}
        items = {
            anchor: self._items(inputs, names, requests.get(anchor))
            for anchor, names in names_of.items()
            if inputs.get(anchor) is not None
        }
        if not any(items.values()):
            return original(**inputs)
        inputs = {name: value for name, value in inputs.items() if name not in _MLX_VLMS_CACHE}
        as_passed, inputs = inputs, self._family.layout.completed(inputs)
        encode = partial(self._encode, original, inputs)
        ahead = self._compared(original, as_passed, inputs, items, requests)
        values = self._values(
            items,
            inputs,
            lambda item: encoded(
                self._attached.cache, item, lambda new: ahead[id(new)] if id(new) in ahead else encode(new)
            ),
        )
        if self._attached.prefixes is not None:
            for of_kind in items.values():
                self._attached.prefixes.show(
                    [Shown(item.key, token_count(item.features)) for item in of_kind]
                )
        features = self._given(original, values, inputs)
        if requests and _holds_nan(features) and not any(map(is_stand_in, leaves_of(values))):
            raise ValueError(
                f"{self._family.name}: the model reads pixels beside {self._family.seam!r}; this version of "
                "mlx-vlm is laid out differently, so detach() to use it"
            )
        return features

    def _values(
        self, items: dict[str, list[Item]], inputs: dict[str, Any], value_of: Callable[[Item], Any]
    ) -> list[Any]:
        """Return the values that the model is handed of images, and of videos."""
        values: list[Any] = []
        for of_kind in items.values():
            own = [value_of(item) for item in of_kind]
            if self._family.kept:
                own = [value["features"] for value in own]
            values += self._family.values(self._model, own, inputs)
        return values

    def _compared(
        self,
        original: Callable[..., Any],
        as_passed: dict[str, Any],
        inputs: dict[str, Any],
        items: dict[str, list[Item]],
        requests: dict[str, Request],
    ) -> dict[int, Any]:
        """Compare a kind of request that is not known to be exact with the model's own answer.

        Returns:
            The values that were encoded for it, none of which is stored yet, by the item's `id`.

        Raises:
            ValueError: they differ.
        """
        trust = self._attached.trust
        kind = kind_of(*(sum(item.images for item in items.get(anchor, ())) for anchor in self._anchors()))
        if trust.knows(kind):
            return {}
        if as_passed.get("cache") is not None:  # each run would add to it
            raise trust.refusal(
                f"{kind} can't be compared while keys and values are given; ask without first"
            )
        whole = as_passed
        for request in requests.values():
            real = request.owner.real(request, whole=True)
            trust.compare_ids(kind, real.pop("input_ids", None), request.ids)
            whole = {**whole, **real}
        plain = original(**whole)
        kept = self._family.kept
        read = [name for name in self._anchors() if items.get(name) and name not in kept]
        told = {**inputs, **{name: unreadable(inputs[name]) for name in read}}
        with trust.refusing(kind):
            new = (item for of_kind in items.values() for item in of_kind if item.features is None)
            ahead = {id(item): self._encode(original, inputs, item) for item in new}
            values = self._values(items, inputs, lambda item: ahead.get(id(item), item.features))
            given = self._given(original, values, told)
        trust.compare(kind, plain, given)
        return ahead

    def _encode(self, original: Callable[..., Any], inputs: dict[str, Any], item: Item) -> Any:
        """Encode one image alone; its value owns its memory."""
        with self._attached.stages.measure("tower"):
            features = self._family.keep(self._caught(original, inputs, item))
            features = self._family.layout.given(features, item.inputs)
            if self._family.recognised:  # nothing is stored unless it is confirmed
                confirm(
                    original(**self._with(inputs, item)), inputs, partial(self._given, original, [features])
                )
            kept = {name: item.inputs[name] for name in self._family.kept}
            value = owned({"features": features, **kept} if kept else features)
            if not self._is_current([item]):
                raise RuntimeError("the model was changed while it encoded an image; ask again")
            return value

    def _given(self, original: Callable[..., Any], values: list[Any], inputs: dict[str, Any]) -> Any:
        """Embed a prompt with the values given at the seam, or as mlx-vlm's own argument."""
        if self._family.inject == "kwarg":
            return original(**inputs, cached_image_features=values[0])
        with self._seam("give", values.copy()):
            return original(**inputs)

    def _items(self, inputs: dict[str, Any], names: dict[str, str], request: Request | None) -> list[Item]:
        """Return the images (or, by the names in `names`, the videos) of a request."""
        layout = self._family.layout
        if request is not None:
            if not self._is_current(request.items):
                raise ValueError(
                    f"the model is another one than when {layout.pixels[0]} was prepared for it; "
                    "prepare it again"
                )
            return request.items
        theirs = {names.get(n, n): n for n in layout.names}
        ours = {n: inputs[t] for t, n in theirs.items() if inputs.get(t) is not None}
        if self._family.recognised:  # nothing says which inputs decide with the pixels: all may
            ours.update({n: v for n, v in inputs.items() if n not in _TEXT and _is_data(v)})
        together = self._family.granularity == "request"
        return [self._prepared(image, names) for image in ([ours] if together else layout.images(ours))]

    def _is_current(self, items: list[Item]) -> bool:
        """Tell whether the model still is what it was when these were looked up."""
        scope = f"{self._attached.scope}/"
        return all((item.key.scope or "").startswith(scope) for item in items)

    def _prepared(self, image: dict[str, Any], names: dict[str, str]) -> Item:
        """Return an item of inputs that somebody else prepared; their content is its identity."""
        with self._attached.stages.measure("key"):
            key = Key.of([_content(image[name]) for name in sorted(image)])
        kind = "video" if names else "pixels"
        item = Item(key.scoped(f"{self._attached.scope}/{kind}"), kind)
        item.inputs = {names.get(name, name): value for name, value in image.items()}
        find(self._attached.cache, item)
        return item

    # The seam -----------------------------------------------------------------------------------

    def _with(self, inputs: dict[str, Any], item: Item) -> dict[str, Any]:
        """Return a request's inputs with one image's in the place of all images'."""
        # What belongs to the request's other images must not reach this one; sound would be encoded too.
        theirs = {*self._family.layout.names, *VIDEO, *VIDEO.values(), AUDIO}
        others = {name: value for name, value in inputs.items() if name not in theirs}
        return self._family.layout.completed({**others, **item.inputs})

    def _caught(self, original: Callable[..., Any], inputs: dict[str, Any], item: Item) -> Any:
        """Return the seam's output for one image alone; the model's code after it does not run."""
        with self._seam("catch", []):
            try:
                self._family.encode(self._model, original, self._with(inputs, item))
            except _Caught as caught:
                return caught.value
        raise RuntimeError(
            f"{self._family.name}: {self._family.seam!r} was not called for an image; "
            "this version of mlx-vlm is laid out differently"
        )

    @contextmanager
    def _seam(self, mode: str, values: list[Any] | None) -> Iterator[None]:
        before = self._now.set(_Seam(self, mode, values))
        try:
            yield
        finally:
            self._now.reset(before)

    def _at_seam(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        now = self._now.get()
        if now is None or now.owner is not self or now.values is None:
            return original(*args, **kwargs)
        if now.mode == "give" and now.values:  # it may also encode what no item stands for
            return self._family.give(now.values.pop(0))
        output = original(*args, **kwargs)
        if now.mode == "catch":
            now.values.append(output)
            calls = self._family.calls(self._model)
            if calls is None:
                raise _Caught(output)
            if len(now.values) == calls:
                raise _Caught(now.values)
        return output


def leaves_of(values: Any) -> Iterator[Any]:
    """Yield the arrays in values, of which some may be settings."""
    return (leaf for value in values if _is_data(value) for leaf in _arrays(value))


def _arrays(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _arrays(item)
    elif isinstance(value, dict):
        yield from _arrays(list(value.values()))
    elif isinstance(value, (mx.array, np.ndarray)):
        yield value


def _arguments(
    signature: inspect.Signature, embedder: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    bound: dict[str, Any] = signature.bind(embedder, *args, **kwargs).arguments
    extra = bound.pop("kwargs", {})
    bound.pop("self", None)
    return {**bound, **extra}


def _holds_nan(features: Any) -> bool:
    """Tell whether NaN is among the embeddings of a prompt."""
    told = features.to_dict() if hasattr(features, "to_dict") else vars(features)
    arrays = [a for a in leaves_of(told.values()) if mx.issubdtype(a.dtype, mx.floating) and a.size]
    if not arrays:
        return False
    # A sum is NaN if a number is; it can be NaN otherwise, so that then all are looked at.
    suspect = mx.isnan(mx.stack([mx.sum(array).astype(mx.float32) for array in arrays])).any()
    return bool(suspect.item()) and any(map(is_stand_in, arrays))


def _is_data(value: Any) -> bool:
    return isinstance(value, (mx.array, np.ndarray, list, tuple, dict))


def _content(value: Any) -> Key:
    """Return the identity of one input: arrays by their content, sizes and settings as they are written."""
    if isinstance(value, (list, tuple)):
        return Key.of([_content(item) for item in value])
    return Key.of(value) if hasattr(value, "dtype") else Key.from_source(repr(value))
