"""The README's picture of the widget: in JupyterLab, light and dark, over real photographs.

    python tools/screenshot_widget.py [FOLDER]

writes widget-light.png and widget-dark.png to FOLDER (default: docs). Needs the `test` extra and
Chromium (`apt install chromium`).
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from lab import Lab, chromium, lab

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "data" / "images"

SCENE = f"""
import random, time
from pathlib import Path
import numpy as np
from PIL import Image
from visioncache import VisionFeatureCache
from visioncache.jupyter import CacheView

photos = sorted(p for p in Path({str(IMAGES)!r}).iterdir() if p.suffix in (".jpg", ".png"))
minutes = [0.0]  # a clock that the scene moves on, so that the picture is the same on every machine
cache = VisionFeatureCache(max_size=20, max_bytes="20 MiB", clock=lambda: minutes[0] * 60)

def features(photo):
    width, height = Image.open(photo).size
    scale = min(1, 1280 / max(width, height))
    patches = round(width * scale / 28) * round(height * scale / 28)
    return np.zeros((max(1, patches), 2048), np.float16)
"""
SHOW = """
view = CacheView(cache, images={photo.name: photo for photo in photos})
view
"""
WORK = """
from visioncache.jupyter.snapshot import History
view._history._clock = lambda: minutes[0] * 60
dice = random.Random(4)
for step in range(60):
    photo = photos[min(len(photos) - 1, int(dice.expovariate(1 / 3.4)))]
    minutes[0] += 1 / 12
    cache.get_or_compute(photo.name, lambda: features(photo), label=photo.name)
    entry = cache.entry(photo.name)
    if entry and not entry.seconds:
        cache.put(photo.name, cache.peek(photo.name), label=photo.name, seconds=0.00021 * entry.shape[0])
    view._history.add(cache.info())
cache.pin(photos[2].name)
view.refresh()
"""


def main(folder: Path) -> None:
    """Take both pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as temporary,
        lab(Path(temporary) / "lab") as server,
        chromium() as browser,
    ):
        server.write("photos.ipynb", SCENE, SHOW, WORK)
        page = browser.new_page(viewport={"width": 1100, "height": 900}, device_scale_factor=2)
        for theme in ("light", "dark"):
            take(server, page, theme, folder / f"widget-{theme}.png")


def take(server: Lab, page: object, theme: str, path: Path) -> None:
    """One picture, of the output alone."""
    server.open(page, "photos.ipynb", theme=theme)
    server.run_all(page)
    page.wait_for_function("document.querySelectorAll('.vcache-tile img').length >= 8")
    page.wait_for_timeout(2500)  # ghosts and pulses fade
    page.locator(".vcache-tile").nth(3).click()
    page.mouse.move(0, 0)
    page.locator(".vcache").screenshot(path=path, animations="disabled")
    print(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs")
