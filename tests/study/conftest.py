"""Put a small model in the place of a real shape, for the scripts of benchmarks/."""

from __future__ import annotations

import pytest


@pytest.fixture
def small_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo model as the scripts' default shape."""
    import shapes

    from visioncache.study.benchmark.demo import load_model

    small = shapes.Shape("qwen2.5-vl-3b", lambda _layers: load_model())
    monkeypatch.setitem(shapes.SHAPES, small.name, small)
