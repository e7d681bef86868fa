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
    """Parts by the pixel array that stands for them, for as long as that array lives."""

    def __init__(self) -> None:
        self._by_id: dict[int, tuple[weakref.ref[Any], list[Part]]] = {}

    def remember(self, pixels: Any, parts: list[Part]) -> None:
        """Note what `pixels`, an array or a tree of them, is made of."""
        anchor = next(leaves(pixels))
        name = id(anchor)
        ref = weakref.ref(anchor, lambda _: self._by_id.pop(name, None))
        self._by_id[name] = (ref, parts)

    def find(self, pixels: Any) -> list[Part] | None:
        """The parts of these very pixels; None for pixels that came from elsewhere."""
        anchor = next(leaves(pixels), None)
        ref, parts = self._by_id.get(id(anchor), (None, None))
        return parts if ref is not None and ref() is anchor else None
