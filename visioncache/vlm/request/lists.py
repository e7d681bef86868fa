"""Lists of images: flatten those that an image processor is handed, and name the key of each image."""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from visioncache.keys import Key, is_array
from visioncache.vlm.request.image import SourceImage

if TYPE_CHECKING:
    from collections.abc import Callable


def sources_of(group: Any) -> list[SourceImage]:
    return [image for image in flat(group) if isinstance(image, SourceImage)]


def identity(group: Any, scope: str) -> tuple[Key, str]:
    """Return the key and the label of one image in a list, or of lists of images; their order counts."""
    if isinstance(group, list) and (len(group) != 1 or isinstance(group[0], list)):
        key = Key.of(each(lambda image: identity_of_one(image, "")[0], group))
        return key.scoped(scope), ", ".join(identity_of_one(image, "")[1] for image in flat(group))
    return identity_of_one(group[0] if isinstance(group, list) else group, scope)


def identity_of_one(source: Any, scope: str) -> tuple[Key, str]:
    if isinstance(source, SourceImage):
        return source.key.scoped(f"{scope}/{source.variant}"), source.label
    return Key.of(source).scoped(scope), type(source).__name__


def each(change: Callable[[Any], Any], images: Any) -> Any:
    """Return the same lists of images, each image changed."""
    if isinstance(images, (list, tuple)):
        return [each(change, image) for image in images]
    return change(images)


def flat(images: Any) -> list[Any]:
    if isinstance(images, (list, tuple)):
        return [image for group in images for image in flat(group)]
    return [images]


def in_list(images: Any) -> list[Any]:
    """Return images as a list; one that is given alone, such as a path, is a list of one."""
    alone = isinstance(images, (str, bytes, Path, BytesIO, Image.Image)) or is_array(images)
    if not alone and not isinstance(images, Iterable):
        raise TypeError(f"images={images!r}: give a path, a URL, a PIL image or an array, or a list of them")
    return [images] if alone else list(images)
