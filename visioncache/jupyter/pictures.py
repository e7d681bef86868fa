"""Pictures: thumbnails of entries, and a large one where its file is still there; kept compressed."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

from visioncache.keys import Key
from visioncache.recent import Recent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from visioncache.records import Entry

THUMBNAIL_PX = 96
LARGE_PX = 512


class Pictures:
    """Data URLs of entries' pictures, each made once.

    Args:
        thumbnail: a small picture of a key, or None.
        images: pictures (or paths of pictures) by source or label.
    """

    capacity = 1024
    large_capacity = 64

    def __init__(self, thumbnail: Callable[[Key], Any], images: Mapping[Any, Any]) -> None:
        self._thumbnail = thumbnail
        self._images = {(Key.of(source).text): image for source, image in images.items()}
        self._labels = {source: image for source, image in images.items() if isinstance(source, str)}
        self._urls: Recent[str, str] = Recent(self.capacity)
        self._large: Recent[str, str] = Recent(self.large_capacity)

    def url(self, entry: Entry) -> str:
        """The thumbnail of an entry as a data URL; "" when there is none (yet)."""
        text = entry.key.text
        known = self._urls.get(text)
        if known is None:
            image = self._thumbnail(entry.key)
            image = self._given(entry) if image is None else image
            if image is None:
                return ""
            self._urls[text] = known = data_url(image, THUMBNAIL_PX)
        return known

    def kept(self, entry: Entry) -> str:
        """The thumbnail as `url` has it, or else one of the file that the entry is named after."""
        known = self.url(entry)
        if known:
            return known
        image, _ = _file_of(entry)
        return "" if image is None else data_url(image, THUMBNAIL_PX)

    def image(self, entry: Entry) -> Any:
        """The large picture of an entry, or its thumbnail, as a PIL image; None without either."""
        from PIL import Image

        url = self.large(entry)[0]
        return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) if url else None

    def large(self, entry: Entry) -> tuple[str, str]:
        """A large picture of an entry as a data URL, and what is to be said of it.

        It is made of what the caller gave, or of the file that the entry is named after while that still
        holds what was encoded; else it is the thumbnail.
        """
        text = entry.key.text
        known = self._large.get(text)
        if known is not None:
            return known, ""
        image, said = self._given(entry), ""
        if image is None:
            image, said = _file_of(entry)
        url = "" if image is None else data_url(image, LARGE_PX)
        if not url:
            return self.url(entry), said
        self._large[text] = url
        return url, ""

    def _given(self, entry: Entry) -> Any:
        """The picture that the caller gave, by source or by label; None without one."""
        image = self._images.get(entry.key.unscoped.text)
        return self._labels.get(entry.name) if image is None else image


def data_url(image: Any, side: int) -> str:
    """A picture, or the path of one, as a JPEG (PNG where transparent) of at most `side`; "" for neither."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    if not isinstance(image, Image.Image):
        try:
            with Image.open(image) as file:
                file.draft("RGB", (side, side))
                image = ImageOps.exif_transpose(file)
        except (OSError, TypeError, ValueError, UnidentifiedImageError):
            return ""
    small = image.copy()
    small.thumbnail((side, side))
    kind = "PNG" if small.has_transparency_data else "JPEG"
    data = io.BytesIO()
    small.convert("RGBA" if kind == "PNG" else "RGB").save(data, kind, quality=85)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(data.getvalue()).decode()}"


def _file_of(entry: Entry) -> tuple[str | None, str]:
    """The file that an entry is named after, if it holds the same bytes as then; else why not."""
    try:
        key = Key.from_file(entry.label)
    except (OSError, ValueError):
        return None, "its file is not there: this is its thumbnail"
    digest = key.text.partition(":")[2]
    if digest not in entry.key.text:
        return None, "its file has changed since: this is its thumbnail"
    return entry.label, ""
