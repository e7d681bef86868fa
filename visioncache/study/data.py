"""Re-export `data_path`, which is `visioncache.data`'s."""

from __future__ import annotations

from visioncache.data import data_path

__all__ = ["data_path"]
