"""The README's pictures of the widget: in JupyterLab, while the demo model talks about photographs.

    python tools/screenshot_widget.py [FOLDER]

writes widget-light.png and widget-dark.png to FOLDER (default: docs). Needs the `test` extra and
Chromium (`apt install chromium`).
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from lab import Lab, chromium, lab
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from visioncache.study.data import data_path
from visioncache.study.trace.provenance import comment, files_told

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "data" / "images"

SETUP = f"""
import os, random
from pathlib import Path
from visioncache import VisionFeatureCache
from visioncache.study.benchmark.demo import load_model
from visioncache.vlm import Chat
os.chdir({str(IMAGES)!r})
photos = sorted(p for p in Path().iterdir() if p.suffix in (".jpg", ".png"))
model, processor = load_model()
"""
START = """
%load_ext visioncache
%config VisionCacheMagics.max_bytes = "170 KiB"
attached = %vcache attach model processor
"""
SHOW = "%vcache show"
WORK = """
dice = random.Random(4)
for _ in range(10):
    with Chat(model, processor, cache, max_tokens=4) as chat:
        for _ in range(3):
            photo = photos[min(len(photos) - 1, int(dice.expovariate(1 / 4)))]
            chat.ask("What is this?", [photo])
%vcache pin -q cat.png
"""


def main(folder: Path) -> None:
    """Take both pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as temporary,
        lab(Path(temporary) / "lab") as server,
        chromium() as browser,
    ):
        page = browser.new_page(viewport={"width": 1100, "height": 1000}, device_scale_factor=2)
        for theme in ("light", "dark"):
            take(server, page, theme, folder / f"widget-{theme}.png")


def take(server: Lab, page: Page, theme: str, path: Path) -> None:
    """One picture: the cell `%vcache show` and what it shows, once the chats of the cell below are over."""
    server.write(f"{theme}.ipynb", SETUP, START, SHOW, WORK)
    server.open(page, f"{theme}.ipynb", theme=theme)
    server.run_all(page)
    page.wait_for_function("document.querySelectorAll('.vcache-tile img').length >= 6")
    page.wait_for_timeout(9000)  # ghosts and pulses fade, and the advice is of all that was asked
    page.locator(".vcache-tile").nth(3).click()
    page.keyboard.press("Escape")  # selected; the large picture would be most of it
    cell = page.locator(".jp-CodeCell").nth(2)
    cell.scroll_into_view_if_needed()
    page.mouse.move(0, 0)
    cell.screenshot(path=path, animations="disabled")
    told = PngInfo()
    told.add_text("Description", made_of(SETUP, START, SHOW, WORK))
    with Image.open(path) as image:
        image.save(path, pnginfo=told, optimize=True)
    print(path)


def made_of(*cells: str) -> str:
    """Say what a picture shows: the version, the model's digest, and the cells that were run, seed and bounds in them."""
    weights = sorted(data_path("models", "demo-vlm").glob("*.safetensors"))
    return comment({**files_told(weights), "cells": [cell.replace(str(ROOT), ".").strip() for cell in cells]})


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs")
