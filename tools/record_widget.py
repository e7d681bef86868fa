"""The README's moving pictures: a chat with the demo model while the widget follows its cache, in JupyterLab.

    python tools/record_widget.py [FOLDER]

writes widget-light.gif and widget-dark.gif to FOLDER (default: docs). Needs the `test` extra and Chromium
(`apt install chromium`).
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from lab import chromium, lab
from PIL import Image
from screenshot_widget import ROOT, SETUP, SHOW, START, made_of

if TYPE_CHECKING:
    from lab import Lab
    from playwright.sync_api import Page

CHAT = """
%%vcache
asked = [3, 2, 3, 11, 4, 2, 8, 3, 0, 10, 7, 5, 6, 11]
for name in (photos[number].name for number in asked):
    with Chat(model, processor, cache, max_tokens=4) as chat:
        print(f"{name:14}", chat.ask("What is this?", [name]).text)
"""
FRAME_MS = 300
MOST_BYTES = 3_000_000
WIDTH = 900


def main(folder: Path) -> None:
    """Record the chat in both themes."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as temporary,
        lab(Path(temporary) / "lab") as server,
        chromium() as browser,
    ):
        page = browser.new_page(viewport={"width": 1000, "height": 1600})
        for theme in ("light", "dark"):
            frames = chat(server, page, theme)
            path = folder / f"widget-{theme}.gif"
            write(frames, path)
            print(path, f"{path.stat().st_size:,} bytes, {len(frames)} frames")


def chat(server: Lab, page: Page, theme: str) -> list[Image.Image]:
    """Hold the chat in a notebook of its own; return the frames of what happens."""
    server.write(f"{theme}.ipynb", SETUP, START, SHOW, CHAT.strip())
    server.open(page, f"{theme}.ipynb", theme=theme)
    for _ in range(3):
        server.command(page, "notebook:run-cell-and-select-next")
    server.wait_idle(page)
    page.wait_for_selector(".vcache")
    # Not awaited: the frames are of what happens until it ends.
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-cell'); }")
    return record(page)


def record(page: Page) -> list[Image.Image]:
    """Take frames of both cells until the chat has ended, a few more, and one when the advice is of all of it."""
    frames: list[Image.Image] = []
    left = 8
    while left and len(frames) < 120:
        start = time.monotonic()
        frames.append(frame(page))
        left -= page.locator(".jp-InputPrompt").nth(3).inner_text().strip("[]: ").isdigit()  # it has ended
        page.wait_for_timeout(max(1, FRAME_MS - 1000 * (time.monotonic() - start)))
    page.wait_for_timeout(9000)
    return [*frames, frame(page)]


def frame(page: Page) -> Image.Image:
    """Take a picture of both cells."""
    shot = Image.open(io.BytesIO(page.screenshot()))
    box = page.evaluate(
        """() => {
            const [first, last] = [2, 3].map(i => document.querySelectorAll('.jp-CodeCell')[i].getBoundingClientRect());
            return [first.left, first.top, first.right, Math.min(last.bottom, innerHeight - 30)];
        }"""
    )
    return shot.convert("RGB").crop(tuple(map(int, box)))


def write(frames: list[Image.Image], path: Path) -> None:
    """Write frames of one size as a GIF of few enough colours to be small.

    Raises:
        ValueError: it is larger than a README should load.
    """
    height = max(frame.height for frame in frames)
    width = frames[0].width
    sized = []
    for frame in frames:
        whole = Image.new("RGB", (width, height), frame.getpixel((frame.width - 1, 0)))  # the page's colour
        whole.paste(frame, (0, 0))
        sized.append(whole.resize((WIDTH, round(height * WIDTH / width)), Image.Resampling.LANCZOS))
    palette = sized[-1].quantize(128)
    drawn = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in sized]
    durations = [FRAME_MS] * (len(drawn) - 1) + [3000]
    told = made_of(SETUP, START, SHOW, CHAT)
    drawn[0].save(
        path, save_all=True, append_images=drawn[1:], duration=durations, loop=0, optimize=True, comment=told
    )
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{path}: {path.stat().st_size:,} bytes, at most {MOST_BYTES:,}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs")
