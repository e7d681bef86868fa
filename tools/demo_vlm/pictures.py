"""Pictures: synthetic scenes, plain colours and augmented photographs, with what is true of them."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageEnhance, ImageFont

if TYPE_CHECKING:
    import random

COLOURS = {
    "red": (214, 40, 40),
    "green": (38, 150, 60),
    "blue": (40, 80, 215),
    "yellow": (245, 215, 40),
    "purple": (140, 50, 170),
    "orange": (245, 135, 25),
    "black": (20, 20, 20),
    "pink": (250, 140, 190),
}
SHAPES = ("circle", "square", "triangle", "star", "cross")
SIZES = ("small", "large")
CELLS = (
    "top left", "top", "top right",
    "left", "centre", "right",
    "bottom left", "bottom", "bottom right",
)  # fmt: skip
PHOTOS = {
    "astronaut.png": "astronaut",
    "camera.png": "photographer",
    "cat.png": "cat",
    "coffee.png": "coffee",
    "coins.png": "coins",
    "dandelion.jpg": "dandelion",
    "dogs.jpg": "dogs",
    "fig.jpg": "fig",
    "flower.jpg": "flower",
    "mountains.jpg": "mountains",
    "palace.jpg": "palace",
    "rocket.jpg": "rocket",
}
ANIMALS = {"cat", "dogs"}
SCENE = 168
"""Width and height of a scene: three by three cells, each of which becomes one of the tower's features."""
IMAGES = Path(__file__).resolve().parents[2] / "data" / "images"


@dataclass(frozen=True)
class Thing:
    """One object of a scene; a digit's `shape` is "digit" and its `digit` says which."""

    shape: str
    colour: str
    cell: str
    size: str
    digit: str = ""


@dataclass(frozen=True)
class Picture:
    """An image and what is true of it."""

    image: Image.Image
    kind: str
    things: tuple[Thing, ...] = ()
    label: str = ""
    colour: str = ""
    changed: str = field(default="", compare=False)
    """Difference from the scene before it, when it was made to differ in one thing."""

    @property
    def aspect(self) -> str:
        """`wide`, `tall` or `square`."""
        width, height = self.image.size
        return "square" if width == height else "wide" if width > height else "tall"


def scene(rng: random.Random, digits: float = 1 / (len(SHAPES) + 1)) -> Picture:
    """One to four things in different cells of a three by three grid, on a pale ground.

    At most one of them is a digit, which each is in a share of `digits` as long as there is none.
    """
    return draw_scene(_things(rng, digits), rng)


def scene_like(before: Picture, rng: random.Random) -> Picture:
    """A scene that differs from another in one property of one thing."""
    things = list(before.things)
    index = rng.randrange(len(things))
    thing, what = things[index], rng.choice(("colour", "place", "size"))
    used = {other.cell for other in things}
    if what == "colour":
        value = {"colour": rng.choice([c for c in COLOURS if c != thing.colour])}
    elif what == "place":
        value = {"cell": rng.choice([c for c in CELLS if c not in used])}
    else:
        value = {"size": SIZES[1 - SIZES.index(thing.size)]}
    things[index] = Thing(**{**vars(thing), **value})
    picture = draw_scene(tuple(things), rng)
    return Picture(picture.image, "scene", picture.things, changed=what)


def _things(rng: random.Random, digits: float) -> tuple[Thing, ...]:
    count = rng.randint(1, 4)
    cells = rng.sample(CELLS, count)
    things = []
    for cell in cells:
        is_digit = rng.random() < digits and not any(t.digit for t in things)
        shape, digit = ("digit", str(rng.randrange(10))) if is_digit else (rng.choice(SHAPES), "")
        things.append(Thing(shape, rng.choice(list(COLOURS)), cell, rng.choice(SIZES), digit))
    return tuple(things)


def draw_scene(things: tuple[Thing, ...], rng: random.Random) -> Picture:
    """Draw things where they are, a little off the middle of their cells."""
    image = _ground((SCENE, SCENE), rng)
    draw = ImageDraw.Draw(image)
    for thing in things:
        row, column = divmod(CELLS.index(thing.cell), 3)
        radius = SCENE / 3 * (0.43 if thing.size == "large" else 0.26)
        x = (column + 0.5 + rng.uniform(-0.06, 0.06)) * SCENE / 3
        y = (row + 0.5 + rng.uniform(-0.06, 0.06)) * SCENE / 3
        _draw_thing(draw, thing, x, y, radius)
    return Picture(image, "scene", things)


def _ground(size: tuple[int, int], rng: random.Random) -> Image.Image:
    """A pale ground that grows redder to the right and bluer to the bottom, so that places look apart."""
    base = rng.randint(190, 205)
    ramp = Image.linear_gradient("L").resize(size).point([base + value // 6 for value in range(256)])
    turned = Image.linear_gradient("L").rotate(90).resize(size)
    across = turned.point([base + value // 6 for value in range(256)])
    return Image.merge("RGB", (across, Image.new("L", size, base + 20), ramp))


def _draw_thing(draw: ImageDraw.ImageDraw, thing: Thing, x: float, y: float, r: float) -> None:
    fill = COLOURS[thing.colour]
    if thing.shape == "circle":
        draw.ellipse((x - r, y - r, x + r, y + r), fill)
    elif thing.shape == "square":
        draw.rectangle((x - r * 0.88, y - r * 0.88, x + r * 0.88, y + r * 0.88), fill)
    elif thing.shape == "triangle":
        draw.polygon([(x, y - r), (x + r, y + r * 0.8), (x - r, y + r * 0.8)], fill)
    elif thing.shape == "star":
        spokes = ((i, r if i % 2 == 0 else r * 0.42) for i in range(10))
        turn = math.pi / 5
        draw.polygon([(x + q * math.sin(i * turn), y - q * math.cos(i * turn)) for i, q in spokes], fill)
    elif thing.shape == "cross":
        draw.rectangle((x - r, y - r * 0.32, x + r, y + r * 0.32), fill)
        draw.rectangle((x - r * 0.32, y - r, x + r * 0.32, y + r), fill)
    else:
        draw.text((x, y), thing.digit, fill, _font(round(r * 2.4)), anchor="mm")


@lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def plain(rng: random.Random, size: tuple[int, int]) -> Picture:
    """One colour from edge to edge."""
    name = rng.choice(list(COLOURS))
    return Picture(Image.new("RGB", size, COLOURS[name]), "plain", colour=name)


@lru_cache(maxsize=32)
def photograph(name: str) -> Image.Image:
    """One of the shipped photographs, in colour, no larger than augmentation needs it."""
    with Image.open(IMAGES / name) as image:
        small = image.convert("RGB")
    small.thumbnail((560, 560), Image.Resampling.LANCZOS)
    return small


def photo(rng: random.Random, size: tuple[int, int], name: str | None = None) -> Picture:
    """A photograph after a crop, a flip, changes of colour and scale, and JPEG at any quality."""
    name = name or rng.choice(list(PHOTOS))
    image = photograph(name)
    if rng.random() < 0.8:
        keep = math.sqrt(rng.uniform(0.45, 1.0))
        stretch = math.exp(rng.uniform(-0.15, 0.15))
        wide = min(image.width, round(image.width * keep * stretch))
        high = min(image.height, round(image.height * keep / stretch))
        left, top = rng.randint(0, image.width - wide), rng.randint(0, image.height - high)
        image = image.resize(size, Image.Resampling.BICUBIC, (left, top, left + wide, top + high))
    else:
        image = image.resize(size, Image.Resampling.BICUBIC)
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        if rng.random() < 0.5:
            image = enhance(image).enhance(rng.uniform(0.6, 1.4))
    if rng.random() < 0.3:
        small = rng.uniform(0.4, 0.9)
        reduced = image.resize((round(size[0] * small), round(size[1] * small)))
        image = reduced.resize(size, Image.Resampling.BICUBIC)
    if rng.random() < 0.5:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=rng.randint(20, 95))
        with Image.open(buffer) as again:
            image = again.convert("RGB")
    return Picture(image, "photo", label=PHOTOS[name])


def close_up(rng: random.Random, size: tuple[int, int]) -> Picture:
    """A part of a photograph as large as a scene, as near as the whole would be seen at `size`."""
    whole = photo(rng, size)
    left, top = (rng.randint(0, side - SCENE) for side in size)
    return Picture(whole.image.crop((left, top, left + SCENE, top + SCENE)), "photo", label=whole.label)
