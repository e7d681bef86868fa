"""Embedding: one prompt, with each image's value from the cache or encoded alone."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np

from visioncache.keys import Key
from visioncache.vlm.families.recognise import confirm
from visioncache.vlm.families.trust import Kind, unreadable
from visioncache.vlm.prefixes.spelling import Shown
from visioncache.vlm.request.arrays import content, holds_nan, is_data, leaves_of
from visioncache.vlm.request.hits import encoded, find
from visioncache.vlm.request.prompts import beside_prompt, in_other_words, length_of, other_prompts
from visioncache.vlm.request.stand_in import is_stand_in
from visioncache.vlm.request.tickets import Item
from visioncache.vlm.scope.values import PLAIN
from visioncache.vlm.trees import owned, token_count

if TYPE_CHECKING:
    from collections.abc import Callable

    from visioncache.vlm.attach import Attached
    from visioncache.vlm.families.family import Family
    from visioncache.vlm.request.seam import Seam
    from visioncache.vlm.request.tickets import Request

_TEXT = ("input_ids", "mask", "attention_mask")
_OF_TOKENS = (*_TEXT, "inputs")
"""Names under which an entrance takes the prompt's tokens and mask, whatever its processor calls them."""
_MLX_VLMS_CACHE = ("vision_cache", "_image_key", "cached_image_features")

VIDEO = {"pixel_values": "pixel_values_videos", "image_grid_thw": "video_grid_thw"}
AUDIO = "input_features"


def anchors(family: Family) -> tuple[str, ...]:
    """Name the inputs that identify images, and videos."""
    anchor = family.layout.pixels[0]
    return (anchor, VIDEO[anchor]) if family.video else (anchor,)


class Embedding:
    """One prompt on its way to the language model.

    Args:
        attached: the attachment.
        seam: where the model's features pass.
        original: the model's own way to embed a prompt.
        inputs: what it was called with, by name.
        requests: of the inputs that are tickets, what they stand for.
    """

    def __init__(
        self,
        attached: Attached,
        seam: Seam,
        original: Callable[..., Any],
        inputs: dict[str, Any],
        requests: dict[str, Request],
    ) -> None:
        self._attached = attached
        self._family: Family = attached.family
        self._seam = seam
        self._original = original
        self._requests = requests
        self._whole = inputs
        self._passed = {name: value for name, value in inputs.items() if name not in _MLX_VLMS_CACHE}
        self._inputs = self._family.layout.completed(self._passed)

    def features(self) -> Any:
        """Return what the model embeds, as it would without a cache.

        Raises:
            ValueError: the model is another one than when its inputs were prepared, or reads pixels
                elsewhere than at the seam.
        """
        if not any(self._items.values()):
            return self._original(**self._whole)
        ahead = {} if self._attached.trust.is_sure else self._believed()
        if ahead is None:
            return self._original(**self._own)

        def encode(item: Item) -> Any:
            return ahead[id(item)] if id(item) in ahead else self._encoded(item)

        values = self._values(lambda item: encoded(self._attached.cache, item, encode))
        if self._attached.prefixes is not None:
            for items in self._items.values():
                self._attached.prefixes.show([Shown(item.key, token_count(item.features)) for item in items])
        features = self._given(values, self._inputs)
        if self._requests and holds_nan(features) and not any(map(is_stand_in, leaves_of(values))):
            raise ValueError(
                f"{self._family.name}: the model reads pixels beside {self._family.seam!r}; this version of "
                "mlx-vlm is laid out differently, so detach() to use it"
            )
        return features

    @cached_property
    def _items(self) -> dict[str, list[Item]]:
        """The images and the videos, by the input that identifies them."""
        names_of = {name: VIDEO if name == VIDEO["pixel_values"] else {} for name in anchors(self._family)}
        return {
            anchor: self._items_of(names, self._requests.get(anchor))
            for anchor, names in names_of.items()
            if self._whole.get(anchor) is not None
        }

    def _items_of(self, names: dict[str, str], request: Request | None) -> list[Item]:
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
        ours = {n: self._whole[t] for t, n in theirs.items() if self._whole.get(t) is not None}
        if self._family.recognised:  # nothing says which inputs decide with the pixels: all may
            ours.update({n: v for n, v in self._whole.items() if n not in _TEXT and is_data(v)})
        together = self._family.granularity == "request"
        if not together and layout.is_stacked(ours):
            return []
        return [self._prepared(image, names) for image in ([ours] if together else layout.images(ours))]

    def _is_current(self, items: list[Item]) -> bool:
        """Tell whether the model, just looked at, still is what it was when these were looked up."""
        scope = f"{self._attached.last_scope}/"
        return all((item.key.scope or "").startswith(scope) for item in items)

    def _prepared(self, image: dict[str, Any], names: dict[str, str]) -> Item:
        """Return an item of inputs that somebody else prepared; their content is its identity."""
        with self._attached.stages.measure("key"):
            key = Key.of([content(image[name]) for name in sorted(image)])
        kind = "video" if names else "pixels"
        item = Item(key.scoped(f"{self._attached.scope}/{kind}"), kind)
        item.inputs = {names.get(name, name): value for name, value in image.items()}
        find(self._attached.cache, item)
        return item

    def _values(self, value_of: Callable[[Item], Any]) -> list[Any]:
        """Return the values that the model is handed of images, and of videos."""
        values: list[Any] = []
        for items in self._items.values():
            own = [value_of(item) for item in items]
            if self._family.kept:
                own = [value["features"] for value in own]
            values += self._family.values(self._attached.model, own, self._inputs)
        return values

    def _given(self, values: list[Any], inputs: dict[str, Any]) -> Any:
        """Embed the prompt with the values given at the seam, or as mlx-vlm's own argument."""
        if self._family.inject == "kwarg":
            return self._seam.given([], partial(self._original, **inputs, cached_image_features=values[0]))
        return self._seam.given(values, partial(self._original, **inputs))

    # One image ----------------------------------------------------------------------------------

    def _encoded(self, item: Item) -> Any:
        """Encode one image alone; its value owns its memory."""
        with self._attached.stages.measure("tower"):
            family, alone = self._family, self._alone(item)
            encode = partial(family.encode, self._attached.model, self._original, alone)
            caught = self._seam.caught(encode, family.calls(self._attached.model, alone))
            features = family.layout.given(family.keep(caught), item.inputs)
            if family.recognised:  # nothing is stored unless it is confirmed
                confirm(self._original(**alone), self._inputs, lambda told: self._given([features], told))
            kept = {name: item.inputs[name] for name in family.kept}
            value = owned({"features": features, **kept} if kept else features)
            if not self._is_current([item]):
                raise RuntimeError("the model was changed while it encoded an image; ask again")
            return value

    def _alone(self, item: Item) -> dict[str, Any]:
        """Return the inputs with one image's in the place of all images'."""
        # What belongs to the request's other images must not reach this one; sound would be encoded too.
        theirs = {*self._family.layout.names, *VIDEO, *VIDEO.values(), AUDIO}
        others = {name: value for name, value in self._inputs.items() if name not in theirs}
        return self._family.layout.completed({**others, **item.inputs})

    # A family that is not proven as installed, or not as the user runs it ----------------------------

    def _believed(self) -> dict[int, Any] | None:
        """Compare a kind of request, unless it is known; None where it is left to the model."""
        trust, kind = self._attached.trust, self._kind
        try:
            ahead = {} if trust.knows(kind) or trust.leaves(kind) else self._compared()
        except ValueError as error:
            trust.leave(kind, error)
        return None if trust.leaves(kind) else ahead

    @cached_property
    def _kind(self) -> Kind:
        """Name the kind of request that is compared."""
        counts = [sum(item.images for item in self._items.get(n, ())) for n in anchors(self._family)]
        images = {*self._family.layout.names, *VIDEO, *VIDEO.values()}
        rest = {n: v for n, v in self._passed.items() if n not in images and (is_data(v) or type(v) in PLAIN)}
        others = {n: v for n, v in beside_prompt(rest).items() if n not in _TEXT and v is not None}
        beside = content(others).text if others else ""
        kind = Kind.of(counts[0], sum(counts[1:]), [self._whole[name] for name in self._items], beside)
        masks = [mask for mask in map(self._passed.get, _TEXT[1:]) if isinstance(mask, mx.array)]
        given = [item.meta.get("sizes") or () for items in self._items.values() for item in items]
        each = [(width, height) for own in given for width, height in own]
        sizes = tuple(each) if len(each) > 1 else tuple((w * h).bit_length() for w, h in each)
        padded = not all(bool(mask.all()) for mask in masks)
        return replace(kind, tokens=length_of(self._passed).bit_length(), padded=padded, sizes=sizes)

    @cached_property
    def _real(self) -> dict[int, dict[str, Any]]:
        """Return what the processor makes without a cache, by the request's `id`."""
        return {id(one): one.owner.real(one, whole=True) for one in self._requests.values()}

    @property
    def _own(self) -> dict[str, Any]:
        """The inputs as they would be without a cache."""
        layout, whole = self._family.layout, dict(self._passed)
        for one in self._real.values():
            whole.update({name: one[name] for name in layout.names if name in one})
        return layout.bounded(whole)

    def _compared(self) -> dict[int, Any]:
        """Compare a kind of request that is not known to be exact with the model's own answer.

        Returns:
            The values that were encoded for it, none of which is stored yet, by the item's `id`.

        Raises:
            ValueError: they differ.
        """
        trust, family, kind = self._attached.trust, self._family, self._kind
        if self._passed.get("cache") is not None:  # each run would add to it
            raise trust.refusal(
                f"{kind} can't be compared while keys and values are given; ask without first"
            )
        for request in self._requests.values():
            beside = {n: v for n, v in self._real[id(request)].items() if n not in family.layout.names}
            trust.compare_outputs(kind, beside, request.beside)
        if self._requests:
            arrays = (n for n, v in self._passed.items() if isinstance(v, (mx.array, np.ndarray)))
            made = {n for one in self._real.values() for n in one}
            trust.compare_names(kind, arrays, {*made, *_OF_TOKENS, *self._of_images})
        plain = self._original(**self._own)
        read = [name for name in anchors(family) if self._items.get(name) and name not in family.kept]
        told = {**self._inputs, **{name: unreadable(self._inputs[name]) for name in read}}
        with trust.refusing(kind):
            new = [item for items in self._items.values() for item in items if item.features is None]
            ahead = {id(item): self._encoded(item) for item in new}
            values = self._values(lambda item: ahead.get(id(item), item.features))
            given = self._given(values, told)
        for item in new[:1]:
            trust.compare_features(kind, ahead[id(item)], self._of_another_prompt(item))
        trust.compare(kind, (plain, given), *self._in_another_prompt(values, told))
        return ahead

    def _in_another_prompt(self, values: list[Any], told: dict[str, Any]) -> list[tuple[Any, Any]]:
        """Embed another prompt as the model does and with `values`; nothing where the model can't."""
        for words in in_other_words(self._passed, self._of_images, self._attached.model.config):
            with suppress(Exception):  # whatever it is, the prompt is one that nobody asked
                own, ours = map(self._family.layout.bounded, ({**self._own, **words}, {**told, **words}))
                return [(self._original(**own), self._given(values, ours))]
        return []

    def _of_another_prompt(self, item: Item) -> Any:
        """Encode an image in another prompt; None where the model can't take one."""
        for inputs in other_prompts(self._whole, self._of_images, self._attached.model.config):
            other = Embedding(self._attached, self._seam, self._original, inputs, self._requests)
            with suppress(Exception):
                return other._encoded(item)
        return None

    @property
    def _of_images(self) -> set[str]:
        """Name the inputs that are no part of a prompt."""
        return {*self._family.layout.names, *VIDEO, *VIDEO.values(), AUDIO}
