"""Cells: which run of which notebook cell made a view, so that running it again leaves nothing behind."""

from __future__ import annotations

import sys
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from visioncache.cache import VisionFeatureCache
    from visioncache.jupyter.widget import CacheView
    from visioncache.keys import Key

_views: dict[str, list[tuple[Any, weakref.ref[CacheView]]]] = {}
"""Views by the cell that made them, each with the run of the cell."""


def replace(view: CacheView) -> None:
    """Note a new view, and close those of the same cell's earlier runs that no page shows.

    A view that a page still shows (it was displayed by another cell) closes when that page lets go.
    """
    cell, run = current()
    if cell is None:
        return
    kept = []
    for earlier, reference in _views.get(cell, []):
        old = reference()
        if old is None or old.comm is None:
            continue
        if earlier != run and old.cache is view.cache and not old.shown:
            old.close()
        else:
            kept.append((earlier, reference))
    _views[cell] = [*kept, (run, weakref.ref(view))]


def is_replaced(view: CacheView) -> bool:
    """Tell whether the cell that made a view has made another one of the same cache since."""
    for made in _views.values():
        runs = [run for run, reference in made if reference() is view]
        if runs:
            later = [other() for run, other in made if run != runs[0]]
            return any(o is not None and o.cache is view.cache and o.comm is not None for o in later)
    return False


def current() -> tuple[str | None, Any]:
    """The cell that runs now and its run; `(None, None)` outside a notebook."""
    kernel = getattr(_shell(), "kernel", None)
    if kernel is None:
        return None, None
    parent = kernel.get_parent() or {}
    cell = parent.get("metadata", {}).get("cellId") or parent.get("content", {}).get("code")
    return cell, parent.get("header", {}).get("msg_id")


def thumbnails_of(cache: VisionFeatureCache) -> Callable[[Key], Any]:
    """Pictures made by whatever is attached to a cache at the time of asking."""

    def thumbnail(key: Key) -> Any:
        hooks = sys.modules.get("visioncache.vlm.patching.mlx_vlm")
        for attached in hooks.attached_to(cache) if hooks else ():
            picture = attached.thumbnail(key)
            if picture is not None:
                return picture
        return None

    return thumbnail


def _shell() -> Any:
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython else None
