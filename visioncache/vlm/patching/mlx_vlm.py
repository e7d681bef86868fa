"""Functions of mlx-vlm's that are taken while at least one model is attached.

`process_image` opens and decodes a path before it asks any processor; an attached one gets an image
that is only identified instead. `generate_step` is where generation begins, and where a model that is
not attached would receive what an attached processor prepared for another. `process_inputs_with_fallback`
would say of a damaged image, which is decoded there, that the processor failed.
"""

from __future__ import annotations

import functools
import threading
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlx_vlm.utils
from mlx_vlm.generate import dispatch
from mlx_vlm.models.base import BaseImageProcessor
from PIL import Image

from visioncache.vlm.families.proven import origin
from visioncache.vlm.patching.functions import untaken
from visioncache.vlm.patching.missing import missing
from visioncache.vlm.prefixes.continuation import continued
from visioncache.vlm.request.arrays import leaves_of
from visioncache.vlm.request.image import BASE64
from visioncache.vlm.request.opened import has_own_ways, mode_of
from visioncache.vlm.request.opening import as_opened, compared, is_usual, raised_at_opening
from visioncache.vlm.request.source import SourceImage
from visioncache.vlm.request.stand_in import is_stand_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from visioncache.vlm.attach import Attached
    from visioncache.vlm.request.processor import ProcessorSide

_attached: list[Attached] = []
_lock = threading.Lock()
_put: list[tuple[Any, str, Any, Any]] = []
"""Modules, names, what is there while anything is attached, and what was there before."""
_THEIRS = "__visioncache_theirs__"
"""On what is put there: mlx-vlm's own function, or somebody's in its place."""


def add(attached: Attached) -> None:
    """Let an attachment's processor receive images that are only identified.

    Raises:
        MissingNameError: this mlx-vlm has no such function.
    """
    with _lock:
        if not _attached:
            for module, name, _ in _HOOKS[:_NEEDED]:
                if not callable(getattr(module, name, None)):
                    raise missing(name, module.__name__)
            for module, name, ours in _HOOKS:
                if not hasattr(module, name):
                    continue
                found = getattr(module, name)  # ours, if somebody who had replaced it put that back
                theirs = getattr(found, _THEIRS, found)
                _put.append((module, name, _hook(ours, theirs), theirs))
                setattr(*_put[-1][:3])
        _attached.append(attached)


def remove(attached: Attached) -> None:
    """Stop that; the last one puts back what was there, unless it was replaced meanwhile."""
    with _lock:
        if attached in _attached:
            _attached.remove(attached)
            if not _attached:
                for module, name, hook, theirs in _put:
                    if getattr(module, name) is hook:
                        setattr(module, name, theirs)
                _put.clear()


def _hook(ours: Callable[..., Any], theirs: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function that stands before another one for good, whoever keeps it."""

    @functools.wraps(theirs)
    def hook(*args: Any, **kwargs: Any) -> Any:
        return ours(theirs, *args, **kwargs)

    setattr(hook, _THEIRS, theirs)
    return hook


def find(model: Any, cache: Any) -> Attached | None:
    """Return the attachment of a model to a cache, if there is one now."""
    return next((a for a in _attached if a.model is model and a.cache is cache), None)


def current() -> list[Attached]:
    """Return every attachment that has not ended."""
    return _attached.copy()


def attached_with(model: Any, processor: Any) -> list[Attached]:
    """Return every attachment of a model or its processor now."""
    return [a for a in _attached if a.model is model or a.processor is processor]


def attached_to(cache: Any) -> list[Attached]:
    """Return every attachment to a cache now."""
    return [a for a in _attached if a.cache is cache]


def _identify_image(original: Callable[..., Any], img: Any, resize_shape: Any, image_processor: Any) -> Any:
    side, own = _owner(image_processor)
    theirs = partial(original, img, resize_shape, own)
    known = isinstance(img, (str, Path, BytesIO, Image.Image)) and is_usual(original)
    if side is None or not known or (isinstance(img, Image.Image) and has_own_ways(img)):  # left as they are
        return theirs()
    image = side.open(img)
    if isinstance(own, BaseImageProcessor) and resize_shape is not None:
        return original(image, resize_shape, own)  # which warns, and resizes nothing
    if resize_shape is not None:
        image = image.resized(
            lambda decoded: mlx_vlm.utils.resize_image(decoded, resize_shape), f"/resize{resize_shape}"
        )
    is_opened_there = isinstance(img, str) and image.label != BASE64  # which mlx-vlm takes for a name
    if is_opened_there or resize_shape is not None or mode_of(img) != "RGB":
        as_opened(image)
    is_opened = isinstance(img, SourceImage) or (
        isinstance(img, str) and img.startswith(("http://", "https://"))
    )
    if not side.trust.proven and not is_opened:  # a URL is downloaded once
        compared(image, theirs, side.trust.refusal)
    return image


def _process_inputs(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return original(*args, **kwargs)
    except Exception as error:
        if not raised_at_opening(error.__context__):
            raise
        theirs = error.__context__
    raise theirs  # type: ignore[misc]


def _begin(
    original: Callable[..., Any], input_ids: Any, model: Any, pixel_values: Any, *args: Any, **kwargs: Any
) -> Any:
    attached = next((attached for attached in _attached if attached.model is model), None)
    if attached is not None:
        begin = original
        if attached.prefixes is not None and attached.active:
            begin = partial(continued, attached, attached.prefixes, original)
        steps = _still(attached, begin, original)(input_ids, model, pixel_values, *args, **kwargs)
        return attached.stages.until_first_token(steps) if attached.active else steps
    if any(map(is_stand_in, leaves_of([pixel_values]))) and not _takes_tickets(model):
        raise ValueError(
            "these pixels are stand-ins, prepared by the processor of a model that is attached; "
            "give this model a processor of its own, or detach() the other"
        )
    return original(input_ids, model, pixel_values, *args, **kwargs)


def _still(attached: Attached, begin: Callable[..., Any], original: Callable[..., Any]) -> Callable[..., Any]:
    """Make a generation that asks, once it begins, whether its model is attached still."""

    def steps(*args: Any, **kwargs: Any) -> Any:
        now = begin if attached in _attached else partial(_begin, original)
        yield from now(*args, **kwargs)

    return steps


def _takes_tickets(model: Any) -> bool:
    """Tell whether a model that is not attached is of the class of one that is, and so knows its tickets."""
    is_kin = any(origin(one.model) is origin(model) for one in _attached)
    return is_kin and untaken(entrance := getattr(type(model), "get_input_embeddings", None)) is not entrance


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
    (mlx_vlm.utils, "process_inputs_with_fallback", _process_inputs),
)
_NEEDED = 2
"""How many of these a cache needs."""
