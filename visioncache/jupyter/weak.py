"""Weak: methods to hand out that keep no object alive."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def weak(owner: Any, method: str) -> Callable[..., None]:
    """Return a method of an object without keeping it alive; it does nothing once the object is gone."""
    reference = weakref.ref(owner)

    def call(*args: Any) -> None:
        target = reference()
        if target is not None:
            getattr(target, method)(*args)

    return call
