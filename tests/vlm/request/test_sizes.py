"""Processors that ask an image for its size, before or after they have it processed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import zoo
from harness import embedded, prepared, same

from visioncache import VisionFeatureCache
from visioncache.vlm import attach
from visioncache.vlm.request.image import SourceImage

if TYPE_CHECKING:
    from pathlib import Path

A, B, _ = zoo.photos()
ASKING = ["kimi_k3", "phi3_v"]


@pytest.mark.parametrize("family", ASKING)
def test_a_known_files_size_is_known_too(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny, path = zoo.build(family), tmp_path / "photo.png"
    turned = A.copy()
    turned.getexif()[0x0112] = 6  # upright, it is as high as A is wide
    turned.save(path, exif=turned.getexif())
    plain = embedded(tiny, prepared(tiny, [str(path)]))
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attachment:
        assert same(embedded(tiny, prepared(tiny, [str(path)])), plain)
        before = attachment.stages.totals()
        with monkeypatch.context() as patch:
            patch.setattr(SourceImage, "load", pytest.fail)
            assert same(embedded(tiny, prepared(tiny, [str(path)])), plain)
        assert attachment.stages.totals().since(before).counts["decode"] == 0


@pytest.mark.parametrize("family", ASKING)
def test_a_file_that_changed_has_its_new_size(family: str, tmp_path: Path) -> None:
    tiny, path = zoo.build(family), tmp_path / "photo.png"
    plain = [embedded(tiny, prepared(tiny, [image])) for image in (A, B, A)]
    cache = VisionFeatureCache()
    with attach(tiny.model, tiny.processor, cache):
        for image, expected in zip((A, B, A), plain, strict=True):
            image.save(path)
            assert same(embedded(tiny, prepared(tiny, [str(path)])), expected)
    assert len(cache) == 2
    assert not same(plain[0], plain[1])
