"""Two functions of mlx-vlm's, taken while at least one model is attached.

`process_image` opens and decodes a path before it asks any processor; an attached one gets an image
that is only identified instead. `generate_step` is where generation begins, and where a model that is
not attached would receive what an attached processor prepared for another.
"""

from __future__ import annotations

import threading
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlx_vlm.utils
from mlx_vlm.generate import dispatch
from mlx_vlm.models.base import BaseImageProcessor
from PIL import Image
from transformers.image_processing_utils import BaseImageProcessor as TransformersImageProcessor

from visioncache.vlm.patching.functions import untaken
from visioncache.vlm.patching.missing import missing
from visioncache.vlm.prefixes.continuation import continued
from visioncache.vlm.request.arrays import leaves_of
from visioncache.vlm.request.opened import has_own_ways
from visioncache.vlm.request.tickets import is_stand_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from visioncache.vlm.attach import Attached
    from visioncache.vlm.request.processor import ProcessorSide

_attached: list[Attached] = []
_lock = threading.Lock()
_theirs: dict[str, Callable[..., Any]] = {}
"""The functions before the first attachment came: mlx-vlm's own, or somebody's in their place."""


def add(attached: Attached) -> None:
    """Let an attachment's processor receive images that are only identified.

    Raises:
        MissingNameError: this mlx-vlm has no such function.
    """
    with _lock:
        if not _attached:
            for module, name, _ in _HOOKS:
                if not callable(getattr(module, name, None)):
                    raise missing(name, module.__name__)
            for module, name, ours in _HOOKS:
                _theirs[name] = getattr(module, name)
                setattr(module, name, ours)
        _attached.append(attached)


def remove(attached: Attached) -> None:
    """Stop that; the last one puts back what was there, unless it was replaced meanwhile."""
    with _lock:
        if attached in _attached:
            _attached.remove(attached)
            if not _attached:
                for module, name, ours in _HOOKS:
                    if getattr(module, name) is ours:
                        setattr(module, name, _theirs[name])


def find(model: Any, cache: Any) -> Attached | None:
    """Return the attachment of a model to a cache, if there is one now."""
    return next((a for a in _attached if a.model is model and a.cache is cache), None)


def current() -> list[Attached]:
    """Return every attachment that has not ended."""
    return _attached.copy()


def attached_to(cache: Any) -> list[Attached]:
    """Return every attachment to a cache now."""
    return [a for a in _attached if a.cache is cache]


def _identify_image(img: Any, resize_shape: Any, image_processor: Any) -> Any:
    side, own = _owner(image_processor)
    known = isinstance(img, (str, Path, BytesIO, Image.Image))
    if side is None or not known or (isinstance(img, Image.Image) and has_own_ways(img)):  # left as they are
        return _theirs["process_image"](img, resize_shape, own)
    # mlx-vlm turns what it opens itself; a family's processor opens the rest, and transformers' turn it.
    image = side.open(img, transpose=isinstance(img, str) or isinstance(own, TransformersImageProcessor))
    if resize_shape is None:
        return image
    if isinstance(own, BaseImageProcessor):  # mlx-vlm warns, and resizes nothing
        return _theirs["process_image"](image, resize_shape, own)
    return image.resized(
        lambda decoded: mlx_vlm.utils.resize_image(decoded, resize_shape), f"/resize{resize_shape}"
    )


def _begin(input_ids: Any, model: Any, pixel_values: Any, *args: Any, **kwargs: Any) -> Any:
    attached = next((attached for attached in _attached if attached.model is model), None)
    if attached is not None:
        attached.follow()
        begin = _theirs["generate_step"]
        if attached.prefixes is not None and attached.active:
            begin = partial(continued, attached, attached.prefixes, begin)
        steps = begin(input_ids, model, pixel_values, *args, **kwargs)
        return attached.stages.until_first_token(steps) if attached.active else steps
    if any(map(is_stand_in, leaves_of([pixel_values]))) and not _takes_tickets(model):
        raise ValueError(
            "these pixels are stand-ins, prepared by the processor of a model that is attached; "
            "give this model a processor of its own, or detach() the other"
        )
    return _theirs["generate_step"](input_ids, model, pixel_values, *args, **kwargs)


def _takes_tickets(model: Any) -> bool:
    """Tell whether a model that is not attached is of the class of one that is, and so knows its tickets."""
    return untaken(entrance := getattr(type(model), "get_input_embeddings", None)) is not entrance


def _owner(image_processor: Any) -> tuple[ProcessorSide | None, Any]:
    """Return who looks these images up, if anybody, and what mlx-vlm would find unattached."""
    for attached in _attached.copy():
        side = attached.processor_side
        if side is not None and side.owns(image_processor):
            return (side if attached.active else None), side.image_processor
    return None, image_processor


_HOOKS = (
    (mlx_vlm.utils, "process_image", _identify_image),
    (dispatch, "generate_step", _begin),
)
