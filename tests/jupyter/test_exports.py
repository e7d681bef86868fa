"""Pages that are written from a notebook: everybody can read them, in light and dark, wide and narrow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from scenes import features, serious_violations

from visioncache import VisionFeatureCache
from visioncache.jupyter import CacheView

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell
    from playwright.sync_api import Page

IMAGES = Path(__file__).resolve().parents[2] / "data" / "images"
NAMES = ("cat.png", "rocket.jpg", "coins.png", "palace.jpg")


@pytest.fixture
def cache() -> VisionFeatureCache:
    """A cache that hit, missed and evicted."""
    cache = VisionFeatureCache(max_size=3, max_bytes="1 MiB")
    for name in (*NAMES, "palace.jpg", "cat.png"):
        if cache.get(name) is None:
            cache.put(name, features(20), label=name, seconds=0.2)
    cache.pin("palace.jpg")
    return cache


@pytest.fixture(params=["report", "view"])
def written(
    request: pytest.FixtureRequest, shell: InteractiveShell, cache: VisionFeatureCache, tmp_path: Path
) -> Path:
    """The page of `%vcache report`, with a cell that was run, and the one that a view saves."""
    path = tmp_path / "page.html"
    if request.param == "view":
        return CacheView(cache, images={name: IMAGES / name for name in NAMES}).save(path)
    shell.user_ns["cache"] = cache
    for cell in ("%%vcache -q --as warm\ncache.get('cat.png');", f"%vcache report -q {path}"):
        shell.run_cell(cell).raise_error()
    return path


@pytest.mark.parametrize("width", [400, 1100])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_written_page_has_no_serious_barrier(page: Page, written: Path, scheme: str, width: int) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(written.as_uri())
    assert serious_violations(page, "html") == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
