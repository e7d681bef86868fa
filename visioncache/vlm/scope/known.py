"""Known: take a description of libraries' programs again while nothing in them is another object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from visioncache.recent import Recent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from visioncache.vlm.scope.anatomy import Anatomy

_MOST = 400
"""Descriptions that are kept: a model and its processor have three."""

_known: Recent[Any, Anatomy] = Recent(_MOST)
"""Descriptions by the places and ids of what they began with, which they hold, so that no id comes twice."""


def programs(
    kind: type[Anatomy], roots: Sequence[tuple[str, Any]], describe: Callable[[], Anatomy]
) -> Anatomy:
    """Give the description of classes, functions and modules that were met at these places, in this order.

    It is kept where it holds nothing but what libraries hold for as long as the process lives.
    """
    key = (kind, *((path, id(value)) for path, value in roots))
    known = _known.get(key)
    if known is not None and known.watch.is_fresh():
        return known
    described = describe().settled()
    if described.lasts and not (described.users or described.opaque):
        _known[key] = described
    elif known is not None:
        _known.pop(key)
    return described
