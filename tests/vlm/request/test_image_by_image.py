"""Processors without an image processor, which turn one image after the other into pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import zoo
from harness import but_for_pixels, embedded, greedy, prepared, same

from visioncache import VisionFeatureCache
from visioncache.sizes import leaves
from visioncache.vlm import FAMILIES, attach
from visioncache.vlm.request.image import open_source
from visioncache.vlm.request.stand_in import is_stand_in

if TYPE_CHECKING:
    from pathlib import Path

A, B, C = zoo.photos()
NAMES = sorted(
    family.name for family in FAMILIES.values() if family.preprocessor not in {"", "image_processor"}
)


@pytest.fixture(params=NAMES)
def tiny(request: pytest.FixtureRequest) -> zoo.Tiny:
    return zoo.build(request.param)


@pytest.fixture
def cache() -> VisionFeatureCache:
    return VisionFeatureCache()


def test_an_unknown_image_becomes_what_it_becomes_without_a_cache(
    tiny: zoo.Tiny, cache: VisionFeatureCache
) -> None:
    images = [A, B][: tiny.max_images]
    plain = prepared(tiny, images)
    with attach(tiny.model, tiny.processor, cache) as attachment:
        ours = prepared(tiny, images)
        assert same(but_for_pixels(ours, attachment), but_for_pixels(plain, attachment))
        assert same(embedded(tiny, ours), embedded(tiny, plain))


def test_a_known_image_gives_all_but_its_pixels_again(tiny: zoo.Tiny, cache: VisionFeatureCache) -> None:
    images = [B, A][: tiny.max_images]
    with attach(tiny.model, tiny.processor, cache) as attachment:
        miss = prepared(tiny, images)
        embedded(tiny, dict(miss))
        hit = prepared(tiny, images)
    assert same(hit, miss)  # the tickets spell the same digest too
    assert any(
        map(is_stand_in, leaves([hit[n] for n in attachment.family.layout.pixels if n in hit]))
    ) != bool(attachment.family.kept)


def test_a_known_file_is_not_decoded(tiny: zoo.Tiny, cache: VisionFeatureCache, tmp_path: Path) -> None:
    A.save(tmp_path / "a.png")
    with attach(tiny.model, tiny.processor, cache):
        embedded(tiny, prepared(tiny, [str(tmp_path / "a.png")]))
        known = open_source(tmp_path / "a.png", transpose=True)
        embedded(tiny, prepared(tiny, [known]))
    assert cache.info().hits == 1
    assert not known.decoded


def test_bypassed_it_works_as_if_nothing_were_attached(tiny: zoo.Tiny, cache: VisionFeatureCache) -> None:
    plain = greedy(tiny, [A])
    with attach(tiny.model, tiny.processor, cache) as attachment, attachment.bypass():
        assert greedy(tiny, [A]) == plain
    assert len(cache) == 0


def test_another_tiny_model_of_the_family_keeps_its_own_processor(
    tiny: zoo.Tiny, cache: VisionFeatureCache
) -> None:
    name = type(tiny.model).__module__.split(".")[-2]
    other = zoo.build(name, seed=1)
    plain = greedy(other, [A])
    with attach(tiny.model, tiny.processor, cache):
        greedy(tiny, [A])
        assert greedy(other, [A]) == plain
        with attach(other.model, other.processor, cache):
            assert greedy(other, [A]) == plain
        assert cache.info().misses == 2
        assert greedy(other, [A]) == plain
    assert cache.info().hits == 0


@pytest.mark.parametrize(
    ("family", "name", "value"),
    [
        ("deepseek_v4", "vision_max_n_token", 16),
        ("deepseek_vl_v2", "candidate_resolutions", ((32, 32),)),
        ("falcon_ocr", "spatial_patch_size", 8),
    ],
)
def test_another_setting_is_another_image(
    cache: VisionFeatureCache, family: str, name: str, value: Any
) -> None:
    tiny = zoo.build(family)
    with attach(tiny.model, tiny.processor, cache):
        first = prepared(tiny, [A])
        embedded(tiny, dict(first))
        setattr(tiny.processor, name, value)
        second = prepared(tiny, [A])
    assert second["pixel_values"].shape != first["pixel_values"].shape
    assert (cache.info().hits, cache.info().misses) == (0, 2)


def test_another_projection_of_falcon_never_hits(cache: VisionFeatureCache) -> None:
    tiny = zoo.build("falcon_ocr")
    projector = tiny.model.language_model.model.img_projector
    with attach(tiny.model, tiny.processor, cache):
        first = embedded(tiny, prepared(tiny, [A]))
        projector.weight = projector.weight * 2
        second = embedded(tiny, prepared(tiny, [A]))
    assert cache.info().hits == 0
    assert not same(first, second)


def test_masks_are_made_of_the_very_pixels_after_a_hit(cache: VisionFeatureCache) -> None:
    tiny = zoo.build("falcon_perception")

    def masked() -> dict[str, Any]:
        """Return the inputs that masks are made from once a token asks for one: the masks take a minute."""
        greedy(tiny, [A])
        names = ("pixel_values", "input_ids", "grid_hw", "hidden_state")
        return {name: getattr(tiny.model, f"_prefill_{name}") for name in names}

    plain = masked()
    with attach(tiny.model, tiny.processor, cache) as attachment:
        assert same(masked(), plain)
        before = attachment.stages.totals()
        assert same(masked(), plain)
        work = attachment.stages.totals().since(before).counts
    assert (cache.info().hits, work["decode"], work["preprocess"], work["tower"]) == (1, 0, 0, 0)


def test_what_deepseek_vl2_refuses_stays_refused(cache: VisionFeatureCache) -> None:
    tiny = zoo.build("deepseek_vl_v2")
    with attach(tiny.model, tiny.processor, cache), pytest.raises(AssertionError):
        tiny.processor(text="<image> <image> what differs?", images=[A])


def test_what_deepseek_vl2_does_not_look_at_is_not_cached(cache: VisionFeatureCache) -> None:
    tiny = zoo.build("deepseek_vl_v2")
    tiny.processor.image_size *= 2
    plain = embedded(tiny, prepared(tiny, [B]))
    with attach(tiny.model, tiny.processor, cache):
        for _ in range(2):
            assert same(embedded(tiny, prepared(tiny, [B])), plain)
    assert len(cache) == 0
