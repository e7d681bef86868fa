"""Memory: what a device holds, how much of it a cache takes, and what it gives back in time."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import mlx.core as mx
import pytest

from visioncache import VisionFeatureCache
from visioncache.memory import AUTO_FRACTION, auto_budget, device_memory, on_pressure
from visioncache.vlm.trees import owned

if TYPE_CHECKING:
    from pathlib import Path

MB = 1 << 20


def block(megabytes: int) -> mx.array:
    array = mx.ones((megabytes, MB), dtype=mx.uint8) * 3
    mx.eval(array)
    return array


def active() -> int:
    gc.collect()
    mx.clear_cache()
    return mx.get_active_memory()


def test_a_device_holds_what_its_system_says() -> None:
    system = device_memory()
    if mx.default_device() == mx.cpu:
        with open("/proc/meminfo") as file:  # noqa: PTH123
            total = int(next(line for line in file if line.startswith("MemTotal")).split()[1]) * 1024
        assert 0 < system <= total
    else:
        assert 0 < system <= max(value for value in mx.device_info().values() if isinstance(value, int))


def test_auto_is_the_stated_fraction_of_it() -> None:
    cache = VisionFeatureCache(max_bytes="auto")
    assert cache.max_bytes == auto_budget() == int(AUTO_FRACTION * device_memory())
    cache.resize(max_bytes=1000)
    cache.max_bytes = "auto"
    assert cache.max_bytes == auto_budget()


def test_a_slice_that_attach_stores_does_not_keep_its_batch_alive() -> None:
    before = active()
    batch = block(16)
    cache = VisionFeatureCache()
    cache.put("a.jpg", owned(batch[3:4]))
    del batch
    assert active() - before < 1.1 * MB
    assert cache.nbytes == MB


def test_a_plain_slice_does_and_that_is_why() -> None:
    before = active()
    batch = block(16)
    part = batch[3:4]
    mx.eval(part)
    del batch
    assert active() - before > 15 * MB
    del part
    assert active() - before < MB


def test_what_the_store_gives_back_holds_its_own_bytes_and_no_more(tmp_path: Path) -> None:
    with_store = VisionFeatureCache(store=tmp_path)
    batch = block(16)
    with_store.put("a.jpg", (batch[3:4], batch[4:5]))
    assert with_store.close()
    del batch, with_store
    before = active()
    cache = VisionFeatureCache(store=tmp_path)
    cache.get("a.jpg")
    assert active() - before == pytest.approx(2 * MB, abs=MB // 8)


def test_writing_behind_keeps_nothing_alive_afterwards(tmp_path: Path) -> None:
    before = active()
    cache = VisionFeatureCache(max_size=1, store=tmp_path)
    for number in range(8):
        cache.put(str(number), block(4))
    assert cache.flush(60)
    assert active() - before == pytest.approx(4 * MB, abs=MB // 2)


def test_pressure_evicts_the_oldest_until_there_is_room() -> None:
    cache = VisionFeatureCache(max_size=None)
    stop = on_pressure(cache, mark=active() + 10 * MB)
    for number in range(20):
        cache.put(str(number), block(2))
    assert active() < active() + 10 * MB
    assert [key.text for key in cache.keys()] == [f"s:{number}" for number in range(15, 20)]
    stop()
    for number in range(20, 30):
        cache.put(str(number), block(2))
    assert len(cache) == 15


def test_pressure_that_comes_from_elsewhere_is_felt_at_the_next_look_up() -> None:
    cache = VisionFeatureCache(max_size=None)
    on_pressure(cache, mark=active() + 20 * MB)
    for number in range(5):
        cache.put(str(number), block(2))
    elsewhere = block(14)
    assert len(cache) == 5
    cache.get("4")
    assert len(cache) == 3
    assert "4" in cache
    del elsewhere


def test_pressure_spares_what_is_pinned() -> None:
    cache = VisionFeatureCache(max_size=None)
    for number in range(5):
        cache.put(str(number), block(2))
    cache.pin("0")
    on_pressure(cache, mark=1)
    assert cache.get("0") is not None
    assert [key.text for key in cache.keys()] == ["s:0"]


def test_what_pressure_evicts_is_still_in_the_store(tmp_path: Path) -> None:
    cache = VisionFeatureCache(max_size=None, store=tmp_path)
    on_pressure(cache, mark=active() + 5 * MB)
    for number in range(6):
        cache.put(str(number), block(2))
    cache.flush(60)
    assert "0" not in cache
    assert cache.get("0") is not None


def test_trim_says_how_much_it_evicted() -> None:
    cache = VisionFeatureCache(max_size=None)
    for number in range(4):
        cache.put(str(number), mx.zeros(100, dtype=mx.uint8))
    assert cache.trim(0) == 0
    assert cache.trim(150) == 200
    assert cache.trim(10_000) == 200
    assert (len(cache), cache.nbytes, cache.info().evictions) == (0, 0, 4)


def test_a_mark_that_is_no_size_is_refused() -> None:
    with pytest.raises(ValueError, match="is not a size"):
        on_pressure(VisionFeatureCache(), mark="most of it")
