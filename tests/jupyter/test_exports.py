"""Pages that are written from a notebook: everybody can read them, in light and dark, wide and narrow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from scenes import features, serious_violations

from visioncache import VisionFeatureCache
from visioncache.display import table_html
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


@pytest.mark.parametrize(("width", "lines"), [(300, 2), (815, 1), (1440, 1)])
def test_a_caption_is_as_wide_as_the_page_and_not_as_its_table(page: Page, width: int, lines: int) -> None:
    """That of `%%vcache --compare` was wrapped to the width of three narrow columns, on a page with room."""
    page.set_viewport_size({"width": width, "height": 600})
    caption = "vcache compared, bypassed first, then cached, once each"
    table = table_html(("", "bypassed", "cached"), [("hits", "0", "3")], caption, ("bypassed", "cached"))
    page.set_content(f"<html lang=en><title>x</title><body style='font:14px/20px sans-serif'><main>{table}")
    height = page.get_by_text(caption).evaluate("e => e.getBoundingClientRect().height")
    assert height == 20 * lines
