"""Opening: tell whether images are opened as the libraries do it, which `open_source` stands in for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mlx_vlm.utils
from PIL import Image, ImageOps
from transformers import image_utils

from visioncache.vlm.patching.functions import is_from
from visioncache.vlm.scope.code import library

if TYPE_CHECKING:
    from collections.abc import Callable

    from visioncache.vlm.request.source import Decoded, Measure, SourceImage

_OPENING: tuple[tuple[Any, Any, str], ...] = (
    (mlx_vlm.utils, mlx_vlm.utils, "load_image"),
    (mlx_vlm.utils, mlx_vlm.utils, "resize_image"),
    (image_utils, image_utils, "load_image"),
    (Image, Image, "open"),
    (Image, Image.Image, "convert"),
    (Image, Image.Image, "copy"),
    (Image, Image.Image, "getexif"),
    (Image, Image.Image, "transpose"),
    (ImageOps, ImageOps, "exif_transpose"),
)
"""Modules, and what in them turns a source into an image by which name."""


_OPENING_IT = "__visioncache_opening__"
"""On an exception that decoding raised."""


def is_usual(process_image: Any = None) -> bool:
    """Tell whether nobody put code of their own where libraries open, turn, convert or resize images.

    Args:
        process_image: the function that stands for mlx-vlm's, or None where it is not asked.
    """
    own = process_image is None or is_from(mlx_vlm.utils, "process_image", process_image)
    return (
        own
        and all(is_from(module, name, vars(owner).get(name)) for module, owner, name in _OPENING)
        and all(map(_is_a_librarys, [*Image.OPEN.values()]))
    )


def _is_a_librarys(plugin: tuple[Any, Any]) -> bool:
    """Tell whether a reader of files came with a library, not with a user's program."""
    return bool(library(str(plugin[0].__module__).partition(".")[0]))


def as_opened(image: SourceImage) -> None:
    """Mark what decoding an image raises as raised where mlx-vlm opens it, though it is decoded later."""
    read = image._read  # noqa: SLF001

    def reading(measure: Measure) -> Decoded:
        try:
            return read(measure)  # type: ignore[misc]
        except Exception as error:
            error.__dict__[_OPENING_IT] = True
            raise

    if read is not None:
        image._read = reading  # noqa: SLF001


def raised_at_opening(error: BaseException | None) -> bool:
    """Tell whether an exception is one that mlx-vlm would have raised when it opened an image."""
    return error is not None and _OPENING_IT in error.__dict__


def compared(image: SourceImage, process: Callable[[], Any], refuse: Callable[[str], Exception]) -> None:
    """Compare an image with what mlx-vlm's own code makes of its source, once it is decoded.

    Args:
        image: the image, not decoded yet; where it never is, there is nothing to compare.
        process: returns what mlx-vlm makes of the source.
        refuse: makes the error of an image that is another one.
    """
    read = image._read  # noqa: SLF001
    if read is None:
        return

    def reading(measure: Measure) -> Decoded:
        key, decoded = read(measure)
        theirs = process()
        if isinstance(theirs, Image.Image) and not _is_same(decoded, theirs):
            raise refuse("it opens an image in another way (process_image)")
        return key, decoded

    image._read = reading  # noqa: SLF001


def _is_same(one: Image.Image, other: Image.Image) -> bool:
    return one.mode == other.mode and one.size == other.size and one.tobytes() == other.tobytes()
