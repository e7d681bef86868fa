"""The model's side of a request: tickets become features, and features their places in the prompt.

Features are caught and given at the family's *seam*, the submodule or method that returns what the
language model is given of an image. An image that is not known is encoded there alone, once.
"""

from __future__ import annotations

import inspect
from contextlib import nullcontext
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

from visioncache.vlm.families.proven import origin, package_of
from visioncache.vlm.patching.classes import method_taken
from visioncache.vlm.patching.functions import taken
from visioncache.vlm.patching.instances import Patch, around, class_of, resolve, shown
from visioncache.vlm.patching.missing import missing
from visioncache.vlm.request.arrays import holds_nan, leaves_of
from visioncache.vlm.request.embedding import Embedding, anchors
from visioncache.vlm.request.seam import Seam
from visioncache.vlm.request.stand_in import is_stand_in
from visioncache.vlm.request.tickets import numbered
from visioncache.vlm.request.tracing import is_traced
from visioncache.vlm.scope.code import Habits
from visioncache.vlm.speedups.patches import convolved, project
from visioncache.vlm.speedups.positions import NAME as POSITIONS
from visioncache.vlm.speedups.positions import counted, positioned
from visioncache.vlm.speedups.scatter import NAME, scatter, slow_scatters
from visioncache.vlm.speedups.windows import attend, windowed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import ExitStack

    from visioncache.vlm.attach import Attached
    from visioncache.vlm.families.family import Family
    from visioncache.vlm.request.tickets import Request


class ModelSide:
    """The model and its seam while they are attached."""

    def __init__(self, attached: Attached, model: Any) -> None:
        self._attached = attached
        self._family: Family = attached.family
        self._model = model
        self._seam = Seam(self._family)
        self._check_names()
        self._reads = Habits.of(class_of(self._embedder).__mro__, self._family.entrances).reads
        self._patches = [Patch(lambda: self._embedder, self._overrides)]
        if not self._is_method:
            at_module = Patch(
                lambda: resolve(model, self._family.seam),
                lambda module: {"__call__": around(module, "__call__", self._seam.at)},
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
        for name in entrances:
            if family.layout.pixels[0] not in self._signature(name).parameters:  # they have no name
                raise missing(f"{name}(..., {family.layout.pixels[0]})", where, package)

    def _signature(self, name: str) -> inspect.Signature:
        """Return an entrance's signature; where a user's class takes `*args`, that of the class behind it."""
        kinds = (kind for kind in class_of(self._embedder).__mro__ if name in vars(kind))
        signatures = [inspect.signature(getattr(kind, name)) for kind in kinds]
        named = (one for one in signatures if inspect.Parameter.VAR_POSITIONAL not in _kinds(one))
        return next(named, signatures[0])

    @property
    def _embedder(self) -> Any:
        return resolve(self._model, self._family.embedder)

    @property
    def _is_method(self) -> bool:
        return callable(getattr(class_of(self._embedder), self._family.seam, None))

    def install(self, undo: ExitStack) -> None:
        """Take the model's calls, until `undo`; RuntimeError where another attached model shares them."""
        undo.callback(self._attached.tickets.expect_none)
        cls = class_of(self._embedder)
        for name, kind in product(self._family.entrances, dict.fromkeys([cls, origin(self._embedder)])):
            wrapper = partial(_untaken_tickets, self._signature(name))
            undo.enter_context(method_taken(kind, name, wrapper))
        language = getattr(self._embedder, "language_model", None)
        if language is not None and not self._attached.trust.proven:
            undo.enter_context(method_taken(class_of(language), "__call__", _unread_tickets))
        for patch in self._patches:
            patch.install(undo)
        for module in slow_scatters(self._embedder):
            undo.enter_context(taken(module, NAME, self._scatter))
        counts = counted(self._embedder) if self._attached.trust.proven else None
        if counts is not None:
            undo.enter_context(method_taken(counts, POSITIONS, positioned))
        attention = windowed(self._embedder)
        if attention is not None:
            undo.enter_context(method_taken(attention, "__call__", attend))
        convolution = convolved(self._embedder)
        if convolution is not None:
            undo.enter_context(method_taken(convolution, "__call__", project))

    @property
    def blocked(self) -> str:
        """Say which part of the model can't be followed, if there is one."""
        kind = next((patch.blocked for patch in self._patches if patch.blocked), "")
        return kind and f"{self._family.seam or 'the model'} is a {kind}, and its calls can't be followed"

    def follow(self) -> None:
        """Go on with submodules that took the place of those before."""
        for patch in self._patches:
            patch.follow()

    def _overrides(self, embedder: Any) -> dict[str, Any]:
        cls = class_of(embedder)
        overrides: dict[str, Any] = {
            name: around(embedder, name, partial(self._enter, self._signature(name)))
            for name in self._family.entrances
        }
        for name in self._family.preparing:
            overrides[name] = around(embedder, name, self._with_pixels)
        for name in ("encode_image", "encode_images"):
            # mlx-vlm's own cache asks for these first; it must not encode tickets.
            if hasattr(cls, name):
                overrides[name] = shown(embedder, name, partial(self._hidden, getattr(cls, name)))
        if self._is_method:
            seam = around(embedder, self._family.seam, self._seam.at)
            if self._family.seam in overrides:
                seam = shown(embedder, self._family.seam, partial(self._hidden, seam))
            overrides[self._family.seam] = seam
        return overrides

    def _hidden(self, function: Callable[..., Any], model: Any) -> Any:
        if self._seam.is_open:
            return function.__get__(model)
        raise AttributeError("to encode an image is the cache's business while it is attached")

    def _with_pixels(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with self._attached.bypass():
            return original(*args, **kwargs)

    def _scatter(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        # Others' models call it too, and this one while it is bypassed.
        own = self._attached.active and self._seam.is_open
        return scatter(original, *args, **kwargs) if own else original(*args, **kwargs)

    # A prompt is embedded -----------------------------------------------------------------------

    def _enter(
        self, signature: inspect.Signature, original: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        """Embed a prompt; the model encodes by any name that it likes inside."""
        inputs = self._family.layout.flattened(_arguments(signature, self._embedder, args, kwargs))
        positions = [*signature.parameters][1 : len(args) + 1]
        shows = any(inputs.get(name) is not None for name in anchors(self._family))
        # Asked before anything takes the weights that a transformation put in for the model's own.
        transformed = shows and self._attached.look()
        learns = transformed or self._attached.trains()  # BatchNorm's statistics are no doing of its own
        with self._seam.opened(), nullcontext() if learns else self._attached.running():
            if not shows:
                return original(*args, **kwargs)
            original = partial(self._folded, original, positions)
            traced = is_traced(leaves_of(inputs.values()))
            requests = {name: self._request(inputs, name, traced) for name in anchors(self._family)}
            own = {name: request for name, request in requests.items() if request is not None}
            aside = transformed or traced or self._lacks(inputs, own, signature.parameters)
            if aside or not (self._attached.active and self._family.takes(inputs)):
                return original(**self._real(inputs, own))
            if inputs.get("cached_image_features") is not None and inputs.get("vision_cache") is None:
                return self._steered(original, inputs, own)
            with numbered(self._attached.cache, own.values()):
                return Embedding(self._attached, self._seam, original, inputs, own).features()

    def _folded(self, original: Callable[..., Any], positions: list[str], **inputs: Any) -> Any:
        """Call the model's own way to embed a prompt, by position what was given so."""
        return _called(original, positions, self._family.layout.folded(inputs))

    def _request(self, inputs: dict[str, Any], anchor: str, traced: bool) -> Request | None:
        """Return the request that pixels are the ticket of; None for pixels that came from elsewhere.

        With `traced`, a transformation follows some of the inputs.

        Raises:
            ValueError: they are a ticket that was edited, or edited inputs came with it.
        """
        pixels = inputs.get(anchor)
        if pixels is None:
            return None
        arrays = list(leaves_of([pixels]))
        if traced and is_traced(arrays):
            if any(map(self._attached.tickets.may_hold, arrays)) or any(map(_is_known_stand_in, arrays)):
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
            self._attached.tickets.refused(arrays)
            raise ValueError(
                f"{edited} was changed on its way from the attached processor to the model, or prepared for "
                "another attachment; pass on what the processor returned, or attach(model, None, cache)"
            )
        # Some processors give tiles of zeros beside a small image's pixels.
        if arrays and self._attached.active and all(map(self._attached.tickets.is_blank, arrays)):
            self._attached.tickets.refused(arrays)
            raise ValueError(
                f"{anchor} are all one number, as stand-ins of the attached processor are without their NaN; "
                "pass on what the processor returned, or embed blank images inside of attached.bypass()"
            )
        return None

    def _lacks(self, inputs: dict[str, Any], anchors: Iterable[str], parameters: Iterable[str]) -> bool:
        """Tell whether something that the model reads was left out of what the processor handed out."""
        given, read = self._family.layout.completed(inputs), self._reads.union(parameters)
        held = map(self._attached.tickets.find, map(inputs.get, anchors))
        return any(one.lacks(given, read) for one in held if one is not None)

    def _real(self, inputs: dict[str, Any], requests: dict[str, Request]) -> dict[str, Any]:
        """Return the inputs with the pixels that tickets among them stand for."""
        for real in (request.owner.real(request) for request in requests.values()):
            inputs = inputs | {name: real[name] for name in real if inputs.get(name) is not None}
        return inputs

    def _steered(
        self, original: Callable[..., Any], inputs: dict[str, Any], requests: dict[str, Request]
    ) -> Any:
        """Embed a prompt with the caller's own features; pixels are made again only if they are read."""
        features = original(**inputs)
        return original(**self._real(inputs, requests)) if requests and holds_nan(features) else features


def _untaken_tickets(
    signature: inspect.Signature, original: Callable[..., Any], *args: Any, **kwargs: Any
) -> Any:
    """Embed a prompt with a model that is not attached, such as a copy of one: tickets are pixels to it."""
    from visioncache.vlm.patching import mlx_vlm

    inputs = _arguments(signature, None, args, kwargs)
    real: dict[str, Any] = {}
    for attached in mlx_vlm.current():
        for name in anchors(attached.family):
            held = None if inputs.get(name) is None else attached.tickets.find(inputs[name])
            if held is not None:
                real |= held.request.owner.real(held.request)
    positions = [*signature.parameters][1 : len(args) + 1]
    return _called(original, positions, {**inputs, **real}) if real else original(*args, **kwargs)


def _unread_tickets(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a language model of a family that is not proven; ValueError where it is given stand-ins."""
    from visioncache.vlm.patching import mlx_vlm

    for attached in mlx_vlm.current():
        own = getattr(resolve(attached.model, attached.family.embedder), "language_model", None)
        is_ours = own is original.__self__ and attached.active  # type: ignore[attr-defined]
        if is_ours and any(map(_is_known_stand_in, leaves_of([args, kwargs]))):
            raise attached.trust.refusal("its language model reads pixels, and a cache gives it none")
    return original(*args, **kwargs)


def _called(original: Callable[..., Any], positions: list[str], inputs: dict[str, Any]) -> Any:
    named = {name: value for name, value in inputs.items() if name not in positions}
    return original(*[inputs.get(name) for name in positions], **named)


def _is_known_stand_in(array: Any) -> bool:
    try:
        return is_stand_in(array)
    except ValueError:  # inside of `compile` and `vmap` there are no numbers to look at
        return False


def _arguments(
    signature: inspect.Signature, embedder: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    bound: dict[str, Any] = signature.bind(embedder, *args, **kwargs).arguments
    own, *_ = signature.parameters
    extra = _kinds(signature).get(inspect.Parameter.VAR_KEYWORD)
    named = {name: value for name, value in bound.items() if name not in (own, extra)}
    return {**named, **bound.get(extra or "", {})}


def _kinds(signature: inspect.Signature) -> dict[Any, str]:
    """Name a signature's parameters by their kinds, the last of each."""
    return {one.kind: one.name for one in signature.parameters.values()}
