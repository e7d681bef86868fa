"""Families whose entries hold all images of a request."""

from __future__ import annotations

import pytest
import zoo
from harness import embedded, prepared

from visioncache import VisionFeatureCache
from visioncache.vlm import attach

A, B, _ = zoo.photos()


def test_what_a_model_refuses_to_see_together_stays_refused() -> None:
    tiny = zoo.build("paddleocr_vl")
    frames = [A, B.resize(A.size)]  # of one size: the processor makes them one clip
    with pytest.raises(ValueError, match="broadcast"):
        embedded(tiny, prepared(tiny, frames, tiny.prompt(1)))
    cache = VisionFeatureCache()
    with attach(tiny.model, tiny.processor, cache):
        with pytest.raises(ValueError, match="broadcast"):
            embedded(tiny, prepared(tiny, frames, tiny.prompt(1)))
        assert len(cache) == 0
