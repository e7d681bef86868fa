"""Hooks: mlx-vlm's `process_image`, while at least one processor is attached.

mlx-vlm opens and decodes a path before it asks any processor; an attached one gets an image that
is only identified instead.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import mlx_vlm.utils
from mlx_vlm.models.base import BaseImageProcessor

if TYPE_CHECKING:
    from visioncache.vlm.attach import Attached
    from visioncache.vlm.pixels import PixelSide

_attached: list[Attached] = []
_lock = threading.Lock()
_process_image = mlx_vlm.utils.process_image


def add(attached: Attached) -> None:
    """Let an attachment's processor receive images that are only identified."""
    with _lock:
        _attached.append(attached)
        mlx_vlm.utils.process_image = _identify_image


def remove(attached: Attached) -> None:
    """Stop that; the last one restores mlx-vlm's own function."""
    with _lock:
        if attached in _attached:
            _attached.remove(attached)
        if not _attached:
            mlx_vlm.utils.process_image = _process_image


def find(model: Any, cache: Any) -> Attached | None:
    """The attachment of a model to a cache, if there is one now."""
    return next((a for a in _attached if a.model is model and a.cache is cache), None)


def attached_to(cache: Any) -> list[Attached]:
    """Every attachment to a cache now."""
    return [a for a in _attached if a.cache is cache]


def _identify_image(img: Any, resize_shape: Any, image_processor: Any) -> Any:
    side, own = _owner(image_processor)
    if side is None or isinstance(img, (list, tuple)) or hasattr(img, "shape"):  # left as they are
        return _process_image(img, resize_shape, own)
    image = side.open(img)
    if resize_shape is None:
        return image
    if isinstance(own, BaseImageProcessor):  # mlx-vlm warns, and resizes nothing
        return _process_image(image, resize_shape, own)
    return image.resized(
        lambda decoded: mlx_vlm.utils.resize_image(decoded, resize_shape), f"/resize{resize_shape}"
    )


def _owner(image_processor: Any) -> tuple[PixelSide | None, Any]:
    """Whose images these are, if they are to be looked up, and what mlx-vlm would find unattached."""
    for attached in _attached.copy():
        side = attached.pixel_side
        if side is not None and side.owns(image_processor):
            return (side if attached.active else None), side.image_processor
    return None, image_processor
