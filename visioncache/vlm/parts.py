"""Parts: which images a batch of pixels is made of, on its way from the processor to the model."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from visioncache.sizes import leaves

if TYPE_CHECKING:
    from visioncache.keys import Key


@dataclass
class Part:
    """One image (or video) of a request: known already, or about to be encoded."""

    key: Key
    label: str = ""
    features: Any = None
    """The stored value when the image was known; held, so that no eviction can take it away."""
    inputs: dict[str, Any] = field(default_factory=dict)
    """What the model encodes it from, when it was not known."""
    meta: dict[str, Any] = field(default_factory=dict)
    """What is stored beside the value."""
    seconds: float = 0.0
    """What its inputs cost to make."""


class Requests:
    """Parts by the pixels that stand for them, for as long as the first array of these lives."""

    def __init__(self) -> None:
        self._by_id: dict[int, tuple[list[weakref.ref[Any]], list[Part]]] = {}

    def remember(self, pixels: Any, parts: list[Part]) -> None:
        """Note what `pixels`, an array or a tree of them, is made of."""
        first, *others = leaves(pixels)
        name = id(first)
        forget = weakref.ref(first, lambda _: self._by_id.pop(name, None))
        self._by_id[name] = ([forget, *map(weakref.ref, others)], parts)

    def find(self, pixels: Any) -> list[Part] | None:
        """The parts of these very pixels; None for pixels that came from elsewhere, one of a list even."""
        arrays = list(leaves(pixels))
        refs, parts = self._by_id.get(id(arrays[0]), ([], None)) if arrays else ([], None)
        if len(refs) != len(arrays):
            return None
        return parts if all(ref() is array for ref, array in zip(refs, arrays, strict=True)) else None
