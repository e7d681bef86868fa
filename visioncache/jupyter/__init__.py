"""Jupyter: `%vcache` and `%%vcache`, the live widget, static tables, plots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visioncache.jupyter.widget import CacheView

__all__ = ["CacheView"]


def __getattr__(name: str) -> Any:
    # Lazily: a cache's HTML needs no widget machinery.
    if name in __all__:
        from visioncache.jupyter.widget import CacheView

        return CacheView
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
