"""Data: where the project's images, sessions, models and results are, in a checkout or in a wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def data_path(*parts: str) -> Path:
    """A folder or file of `data/` (images, sessions, models, results)."""
    shipped = _PACKAGE / "_data"
    root = shipped if shipped.is_dir() else _PACKAGE.parent / "data"
    return root.joinpath(*parts)
