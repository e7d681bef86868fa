"""Families whose videos take the way of their images: encoded once, apart from the images."""

from __future__ import annotations

import pytest
import zoo
from harness import embedded, film_and_picture, same

from visioncache import VisionFeatureCache
from visioncache.vlm import FAMILIES, attach

A, B, _ = zoo.photos()
FAMILIES_WITH_VIDEO = sorted(name for name, family in FAMILIES.items() if family.video)
ONE_KIND = ["muse_glimmer", "qwen3_5", "qwen3_vl_moe", "qwen4_exp"]
"""Families of which mlx-vlm takes pictures or films in a prompt, not both."""


@pytest.mark.parametrize("family", FAMILIES_WITH_VIDEO)
def test_a_film_is_encoded_once_alone_or_behind_a_picture(family: str) -> None:
    tiny = zoo.build(family)
    film, both = film_and_picture(tiny)
    requests = [film] if family in ONE_KIND else [film, both]
    plain = [embedded(tiny, request) for request in requests]
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attachment:
        for _ in range(2):
            assert same([embedded(tiny, request) for request in requests], plain)
        assert attachment.stages.totals().counts["tower"] == len(requests)


@pytest.mark.parametrize("family", ONE_KIND)
def test_what_mlx_vlm_does_not_take_together_stays_refused(family: str) -> None:
    tiny = zoo.build(family)
    _, both = film_and_picture(tiny)
    with pytest.raises(ValueError, match="do not match"):
        embedded(tiny, both)
    cache = VisionFeatureCache()
    with attach(tiny.model, tiny.processor, cache), pytest.raises(ValueError, match="do not match"):
        embedded(tiny, both)


def test_a_film_under_another_name_is_encoded_by_the_model_itself() -> None:
    tiny = zoo.build("mimo_v2")
    film, both = film_and_picture(tiny, renamed="video_pixel_values")
    plain = embedded(tiny, film), embedded(tiny, both)
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attachment:
        for _ in range(2):
            assert same((embedded(tiny, film), embedded(tiny, both)), plain)
        assert attachment.stages.totals().counts["tower"] == 1


@pytest.mark.parametrize("family", ["lfm2_vl", "mimo_v2", "minimax_m3_vl"])
def test_mlx_vlms_own_cache_finds_nothing_to_encode_with(family: str) -> None:
    model = zoo.build(family).model
    name = "encode_images" if hasattr(model, "encode_images") else "encode_image"
    with attach(model, None, VisionFeatureCache()), pytest.raises(AttributeError, match="cache's business"):
        getattr(model, name)
    assert callable(getattr(model, name))
