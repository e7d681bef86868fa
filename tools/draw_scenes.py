"""Draw the scenes that the sessions ask about, and print what is true of them.

python tools/draw_scenes.py  # writes data/images/scenes
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from demo_vlm.pictures import IMAGES, Picture, Thing, draw_scene

SCENES = {
    "star": (Thing("star", "red", "top left", "large"), Thing("circle", "blue", "right", "small")),
    "star-moved": (Thing("star", "red", "bottom", "large"), Thing("circle", "blue", "right", "small")),
    "digit": (
        Thing("digit", "purple", "centre", "large", "7"),
        Thing("cross", "green", "top right", "small"),
        Thing("triangle", "orange", "bottom left", "large"),
    ),
    "squares": (
        Thing("square", "black", "left", "small"),
        Thing("square", "pink", "bottom right", "large"),
        Thing("circle", "yellow", "top", "small"),
        Thing("cross", "blue", "centre", "small"),
    ),
}


def main() -> None:
    """Write a PNG a scene."""
    folder = IMAGES / "scenes"
    folder.mkdir(exist_ok=True)
    for seed, (name, things) in enumerate(SCENES.items()):
        picture: Picture = draw_scene(things, random.Random(seed))
        picture.image.save(folder / f"{name}.png", optimize=True)
        shown = ", ".join(f"{t.size} {t.colour} {t.digit or t.shape} {t.cell}" for t in picture.things)
        sys.stdout.write(f"{name}.png: {shown}\n")


if __name__ == "__main__":
    main()
