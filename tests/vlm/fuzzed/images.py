"""Images drawn at random: their content, mode, format and orientation, and the doors that they come in by."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    import random
    from pathlib import Path

MODES = {
    "PNG": ("RGB", "RGB", "L", "RGBA", "P", "LA", "1", "I;16"),
    "JPEG": ("RGB", "RGB", "RGB", "L", "CMYK"),
    "WEBP": ("RGB", "RGBA"),
    "BMP": ("RGB", "L", "P"),
    "TIFF": ("RGB", "L", "RGBA", "CMYK"),
    "GIF": ("P", "L"),
}
TURNED = ("PNG", "JPEG", "WEBP", "TIFF")
ORIENTATIONS = (0, 0, 0, 1, 3, 6, 8, 9)
"""EXIF's, 0 for none; 9 means nothing."""
SIZES = ((64, 48), (40, 72), (56, 56), (28, 28), (112, 40), (30, 150), (150, 30), (97, 61), (5, 3))
DOORS = (
    "path", "path", "Path", "opened", "opened, kept", "loaded", "loaded, kept", "drawn on, kept", "in memory",
    "BytesIO", "data URI", "array", "array of floats",
)  # fmt: skip
SLOTS = 2
"""Names of files, each of which holds one image after the other."""


@dataclass(frozen=True)
class Photo:
    """An image, as it is written in a file."""

    content: int
    size: tuple[int, int]
    mode: str
    format: str
    orientation: int = 0

    def __str__(self) -> str:
        turned = f" orientation {self.orientation}" if self.orientation else ""
        return f"#{self.content} {self.size[0]}x{self.size[1]} {self.mode} {self.format}{turned}"


@dataclass(frozen=True)
class Shown:
    """An image and the door that it comes in by."""

    photo: Photo
    door: str
    slot: int = 0

    def __str__(self) -> str:
        where = f" {self.slot}" if "path" in self.door.lower() else ""
        return f"<{self.photo}, {self.door}{where}>"


def draw_photo(rng: random.Random) -> Photo:
    """Draw an image; few contents and sizes, so that many are nearly alike."""
    kind = rng.choice(("PNG", "PNG", "JPEG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"))
    orientation = rng.choice(ORIENTATIONS) if kind in TURNED else 0
    return Photo(rng.randrange(3), rng.choice(SIZES), rng.choice(MODES[kind]), kind, orientation)


def draw_shown(rng: random.Random, photos: list[Photo]) -> Shown:
    """Draw one of the images and a door."""
    return Shown(rng.choice(photos), rng.choice(DOORS), rng.randrange(SLOTS))


@lru_cache(256)
def written(photo: Photo) -> bytes:
    """The bytes of an image's file."""
    coarse = np.random.default_rng(photo.content).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    image: Any = Image.fromarray(coarse).resize(photo.size, Image.Resampling.BICUBIC)
    if photo.mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    elif photo.mode == "LA":
        image = image.convert("RGBA").convert("LA")
    else:
        image = image.convert(photo.mode)
    options: dict[str, Any] = {"quality": 90} if photo.format == "JPEG" else {}
    if photo.orientation:
        exif = Image.Exif()
        exif[0x0112] = photo.orientation
        options["exif"] = exif.tobytes()
    file = BytesIO()
    image.save(file, photo.format, **options)
    return file.getvalue()


def open_door(shown: Shown, folder: Path, kept: dict[Shown, Any]) -> Any:
    """Return what a caller passes for an image; `kept` are the objects that the caller goes on using."""
    data, door = written(shown.photo), shown.door
    if "path" in door.lower():
        file = folder / f"slot{shown.slot}"
        if not file.exists() or file.read_bytes() != data:
            file.write_bytes(data)
        return str(file) if door == "path" else file
    if door == "BytesIO":
        return BytesIO(data)
    if door == "data URI":
        return f"data:image/{shown.photo.format.lower()};base64,{base64.b64encode(data).decode()}"
    if door.startswith("array"):
        pixels = np.asarray(Image.open(BytesIO(data)).convert("RGB")).transpose(2, 0, 1)
        return np.ascontiguousarray(pixels) if door == "array" else pixels.astype(np.float32) / 255
    image = kept.get(shown) or Image.open(BytesIO(data))
    if door == "in memory":
        return image.convert(image.mode).copy()
    if "loaded" in door or "drawn" in door:
        image.load()
    if "kept" in door:
        kept[shown] = image
    if "drawn" in door:
        dot = (image.tell() + len(kept)) % 2
        image.paste(image.resize((max(1, image.width // 2), max(1, image.height // 2))), (dot, 0))
    return image
