"""The scripts of benchmarks/, which is no package, and a small model in the place of a real shape."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))


@pytest.fixture
def small_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo model as the scripts' default shape."""
    import shapes

    from visioncache.study.demo import load_model

    small = shapes.Shape("qwen2.5-vl-3b", lambda _layers: load_model())
    monkeypatch.setitem(shapes.SHAPES, small.name, small)
