"""Saving: write what a view shows, as a page or as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from visioncache.jupyter.report import write_report
from visioncache.jupyter.snapshot import ALL, window

if TYPE_CHECKING:
    import os

    from visioncache.cache import VisionFeatureCache
    from visioncache.jupyter.pictures import Pictures
    from visioncache.jupyter.snapshot import Filter, Sort

_ORDERS = {
    "recency": "least to most recently used",
    "bytes": "by bytes, most first",
    "hits": "by hits, most first",
}


def save_view(
    cache: VisionFeatureCache,
    path: str | os.PathLike[str],
    pictures: Pictures,
    *,
    sort: Sort = "recency",
    start: int | None = None,
    wanted: Filter = ALL,
) -> Path:
    """Write a page about a cache (`.html`), or the shelf that a view shows (`.png`, `.svg`).

    Raises:
        ValueError: the name ends in something else.
        OSError: the file can't be written.
    """
    target = Path(path).expanduser()
    if target.suffix == ".html":
        return write_report(cache, target, pictures=pictures)
    if target.suffix not in {".png", ".svg"}:
        raise ValueError(f"{target.name}: save as .html, .png or .svg")
    from visioncache.plots.shelf import shelf

    first, matched, entries = window(cache, sort, start, wanted=wanted)
    caption = _ORDERS[sort]
    if len(entries) < matched:
        caption += f"; {first + 1:,} to {first + len(entries):,} of {matched:,}"
    if wanted != ALL:
        caption += f"; {matched:,} of {len(cache):,} entries are like what is searched for"
    figure: Any = shelf(cache.info(), entries, pictures.image, now=cache.now(), caption=caption)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=144)
    return target
