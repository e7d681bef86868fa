"""Our cache and mlx-vlm's own keep the same promises: one can stand where the other stood."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx_vlm.vision_cache
import pytest
from PIL import Image

import visioncache


@pytest.fixture(params=[visioncache.VisionFeatureCache, mlx_vlm.vision_cache.VisionFeatureCache])
def make(request: pytest.FixtureRequest) -> Any:
    """The class under contract."""
    return request.param


def held(cache: Any, names: str) -> str:
    return "".join(name for name in names if name in cache)


def test_it_holds_twenty_unless_told(make: Any) -> None:
    cache = make()
    assert cache.max_size == 20
    for number in range(25):
        cache.put(f"{number}", mx.zeros(1))
    assert len(cache) == 20
    assert "4" not in cache
    assert "5" in cache


def test_what_was_put_is_what_is_got_and_a_miss_is_none(make: Any) -> None:
    cache, features = make(max_size=2), mx.zeros((2, 3))
    assert cache.get("a") is None
    cache.put("a", features)
    assert cache.get("a") is features
    assert cache.get("b") is None


def test_the_least_recently_used_goes_first(make: Any) -> None:
    cache = make(3)
    for name in "abcd":
        cache.put(name, mx.zeros(1))
    assert held(cache, "abcd") == "bcd"


def test_a_hit_refreshes_and_asking_whether_it_is_in_does_not(make: Any) -> None:
    cache = make(3)
    for name in "abc":
        cache.put(name, mx.zeros(1))
    assert cache.get("a") is not None
    assert "b" in cache
    cache.put("d", mx.zeros(1))
    assert held(cache, "abcd") == "acd"


def test_an_overwrite_refreshes_and_evicts_no_other(make: Any) -> None:
    cache, second = make(3), mx.ones(1)
    for name in "abc":
        cache.put(name, mx.zeros(1))
    cache.put("a", second)
    assert held(cache, "abc") == "abc"
    cache.put("d", mx.zeros(1))
    assert held(cache, "abcd") == "acd"
    assert cache.get("a") is second


def test_clear_empties_it_and_it_can_be_filled_again(make: Any) -> None:
    cache = make(2)
    cache.put("a", mx.zeros(1))
    cache.clear()
    assert (len(cache), "a" in cache, cache.get("a"), cache.max_size) == (0, False, None, 2)
    cache.put("b", mx.zeros(1))
    assert len(cache) == 1


def test_lists_of_images_are_keys_and_their_order_counts(make: Any) -> None:
    cache, features = make(), mx.zeros(1)
    cache.put(["a", "b"], features)
    assert cache.get(["a", "b"]) is features
    assert cache.get(["b", "a"]) is None


def test_a_list_of_arrays_is_a_value_as_encode_images_returns_it(make: Any) -> None:
    # stream_generate evaluates what encode_images gave, puts it, and hands on what a get gives.
    cache, features = make(), [mx.zeros((4, 8)), mx.zeros((6, 8))]
    cache.put("processed:1", features)
    assert cache.get("processed:1") is features


def test_equal_pictures_are_one_image_and_different_ones_are_not(make: Any) -> None:
    cache, features = make(), mx.zeros(1)
    cache.put(Image.new("RGB", (4, 4), "red"), features)
    assert cache.get(Image.new("RGB", (4, 4), "red")) is features
    assert cache.get(Image.new("RGB", (4, 4), "blue")) is None
    assert Image.new("RGB", (4, 4), "red") in cache


def test_nothing_is_evaluated(make: Any) -> None:
    cache = make()
    before = mx.get_active_memory()
    cache.put("a", mx.zeros((1 << 24,)) + 1)
    assert cache.get("a").shape == (1 << 24,)
    assert mx.get_active_memory() < before + (1 << 20)


@pytest.mark.parametrize("bound", [1, 2, 7])
def test_it_never_holds_more_than_its_bound(make: Any, bound: int) -> None:
    cache = make(bound)
    for number in range(30):
        cache.put(f"{number % 11}", mx.zeros(1))
        assert len(cache) <= bound


def test_a_huge_bound_reserves_nothing(make: Any) -> None:
    assert len(make(10**12)) == 0
