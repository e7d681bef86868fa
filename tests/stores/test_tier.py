"""A cache with a store: what it finds there, what it writes behind, and what it removes."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
import pytest

from visioncache import Key, VisionFeatureCache
from visioncache.stores import DiskStore, StoreError, StoreWarning, Tier, decode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def features(seed: int = 0, size: int = 64) -> mx.array:
    array = mx.array(np.random.default_rng(seed).standard_normal((4, size), dtype=np.float32))
    array = array.astype(mx.bfloat16)
    mx.eval(array)
    return array


def bits(array: mx.array) -> bytes:
    return memoryview(array).tobytes()


def kinds(cache: VisionFeatureCache) -> list[str]:
    return [event.kind for event in cache.events]


class GatedStore:
    """A store in memory whose writes wait until they are let through."""

    def __init__(self) -> None:
        self.entries: dict[Key, bytes] = {}
        self.calls: list[tuple[str, Any]] = []
        self.open = threading.Event()
        self.entered = threading.Semaphore(0)
        self.fails = False

    def _pass(self, call: str, what: Any) -> None:
        self.entered.release()
        self.open.wait(60)
        self.calls.append((call, what))
        if self.fails:
            raise StoreError("it is broken")

    def get(self, key: Key) -> bytes | None:
        self.calls.append(("get", key))
        return self.entries.get(key)

    def put(self, key: Key, data: bytes) -> None:
        self._pass("put", key)
        self.entries[key] = data

    def delete(self, key: Key) -> bool:
        self._pass("delete", key)
        return self.entries.pop(key, None) is not None

    def clear(self, scope: str | None = None) -> None:
        self._pass("clear", scope)
        for key in [key for key in self.entries if scope is None or key.scope == scope]:
            del self.entries[key]

    def __len__(self) -> int:
        return len(self.entries)

    def volume(self) -> int:
        return sum(map(len, self.entries.values()))

    def close(self) -> None:
        self.calls.append(("close", None))


@pytest.fixture
def gated() -> Iterator[GatedStore]:
    store = GatedStore()
    yield store
    store.open.set()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "features"


# Finding --------------------------------------------------------------------------------------------


def test_what_memory_evicted_is_found_in_the_store(folder: Path) -> None:
    cache = VisionFeatureCache(max_size=1, store=folder)
    first = features(1)
    cache.put("a.jpg", first)
    cache.put("b.jpg", features(2))
    assert cache.flush(60)
    found = cache.get("a.jpg")
    assert (bits(found), found.dtype, found.shape) == (bits(first), first.dtype, first.shape)
    assert kinds(cache)[-2:] == ["evict", "store-hit"]
    info = cache.info()
    assert (info.hits, info.store_hits, info.misses, info.hit_rate) == (0, 1, 0, 1.0)
    assert info.store.hits == 1


def test_a_new_cache_finds_what_another_left_with_all_that_was_known(folder: Path) -> None:
    deepstack = (features(1), [features(2), None], {"grid": features(3)})
    with_store = VisionFeatureCache(store=folder)
    with_store.put("a.jpg", deepstack, label="the cat", seconds=0.25, meta={"tokens": 4})
    with_store.close()

    cache = VisionFeatureCache(store=str(folder))
    value, meta = cache._get_with_meta("a.jpg")
    assert meta == {"tokens": 4}
    assert isinstance(value, tuple)
    assert bits(value[1][0]) == bits(deepstack[1][0])
    assert value[1][1] is None
    entry = cache.entry("a.jpg")
    assert (entry.label, entry.seconds) == ("the cat", 0.25)
    assert cache.info().seconds_saved == 0.25
    assert cache.events[-1].label == "the cat"


def test_a_second_look_finds_it_in_memory(folder: Path) -> None:
    VisionFeatureCache(store=folder).put("a.jpg", features())
    cache = VisionFeatureCache(store=folder)
    while cache.get("a.jpg") is None:  # the first cache may still be writing
        pass
    assert cache.get("a.jpg") is cache.get("a.jpg")
    assert kinds(cache)[-3:] == ["store-hit", "hit", "hit"]


def test_what_neither_has_is_one_miss(folder: Path) -> None:
    cache = VisionFeatureCache(store=folder)
    assert cache.get("a.jpg") is None
    assert (kinds(cache), cache.info().misses, cache.info().store.misses) == (["miss"], 1, 1)


def test_an_encode_that_the_store_knows_is_not_run(folder: Path) -> None:
    first = VisionFeatureCache(store=folder)
    value = first.get_or_compute("a.jpg", features)
    first.close()
    cache = VisionFeatureCache(store=folder)

    def never() -> mx.array:
        raise AssertionError("it was in the store")

    assert bits(cache.get_or_compute("a.jpg", never)) == bits(value)


def test_threads_that_miss_at_once_ask_the_store_once(gated: GatedStore) -> None:
    gated.open.set()
    first = VisionFeatureCache(store=gated)
    first.put("a.jpg", features())
    first.flush(60)
    cache = VisionFeatureCache(store=gated)
    gated.calls.clear()
    barrier = threading.Barrier(8)
    found: list[mx.array] = []
    slow = gated.get

    def get(key: Key) -> bytes | None:
        # Whoever asks first answers only when all the others wait for it, or have come.
        data = slow(key)
        deadline = time.monotonic() + 20
        while len(cache._flights._waiting) < 7 and time.monotonic() < deadline:
            pass
        return data

    gated.get = get

    def ask() -> None:
        barrier.wait()
        found.append(cache.get("a.jpg"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [call for call, _ in gated.calls] == ["get"]
    assert len({id(value) for value in found}) == 1
    assert (cache.info().store_hits, cache.info().hits) == (1, 7)


def test_what_does_not_fit_into_memory_is_still_found(folder: Path) -> None:
    large = VisionFeatureCache(store=folder)
    large.put("a.jpg", features(1, size=1000))
    large.close()
    cache = VisionFeatureCache(max_bytes=1000, store=folder)
    assert cache.get("a.jpg").shape == (4, 1000)
    assert len(cache) == 0


def test_what_waits_to_be_written_is_found_meanwhile(gated: GatedStore) -> None:
    cache = VisionFeatureCache(max_size=1, store=gated)
    first = features(1)
    cache.put("a.jpg", first)
    cache.put("b.jpg", features(2))
    assert cache.get("a.jpg") is first
    assert gated.entries == {}


def test_a_value_that_is_put_while_an_older_one_loads_wins(gated: GatedStore) -> None:
    gated.open.set()
    cache = VisionFeatureCache(store=gated)
    cache.put("a.jpg", features(1))
    cache.flush(60)
    cache.clear_memory = cache._lru.clear()
    newer = features(2)
    load = gated.get

    def get(key: Key) -> bytes | None:
        data = load(key)
        cache.put("a.jpg", newer)
        return data

    gated.get = get
    assert cache.get("a.jpg") is newer
    assert cache.get("a.jpg") is newer


@pytest.mark.parametrize("remove", [lambda c: c.pop("a.jpg"), lambda c: c.clear()])
def test_a_value_that_is_removed_while_it_loads_is_not_kept(
    gated: GatedStore, remove: Callable[[VisionFeatureCache], Any]
) -> None:
    gated.open.set()
    first = VisionFeatureCache(store=gated)
    first.put("a.jpg", features(1))
    first.flush(60)
    cache = VisionFeatureCache(store=gated)
    load = gated.get

    def get(key: Key) -> bytes | None:
        data = load(key)
        remove(cache)
        return data

    gated.get = get
    assert cache.get("a.jpg") is not None  # it was there when it was asked for
    assert "a.jpg" not in cache
    cache.flush(60)
    gated.get = load
    assert cache.get("a.jpg") is None


def test_membership_length_and_peek_are_about_memory(folder: Path) -> None:
    first = VisionFeatureCache(store=folder)
    first.put("a.jpg", features())
    first.close()
    cache = VisionFeatureCache(store=folder)
    assert "a.jpg" not in cache
    assert cache.peek("a.jpg") is None
    assert (len(cache), cache.keys(), len(cache.events)) == (0, [], 0)


# Writing --------------------------------------------------------------------------------------------


def test_a_put_does_not_wait_for_the_store(gated: GatedStore) -> None:
    cache = VisionFeatureCache(store=gated)
    cache.put("a.jpg", features())
    assert gated.entered.acquire(timeout=20)  # the write has begun, and can't end
    assert not cache.flush(0.01)
    gated.open.set()
    assert cache.flush(60)
    assert len(gated) == 1


def test_a_value_that_was_not_evaluated_yet_is_written_all_the_same(folder: Path) -> None:
    cache = VisionFeatureCache(store=folder)
    lazy = mx.arange(1000) * 3
    cache.put("a.jpg", (lazy, lazy[10:20].astype(mx.bfloat16)))
    cache.close()
    first, second = VisionFeatureCache(store=folder).get("a.jpg")
    assert first.tolist() == list(range(0, 3000, 3))
    assert second.tolist() == list(range(30, 60, 3))


def test_get_returns_the_very_object_that_was_put(folder: Path) -> None:
    cache = VisionFeatureCache(store=folder)
    value = {"x": features()}
    cache.put("a.jpg", value)
    assert cache.get("a.jpg") is value


def test_the_oldest_write_is_dropped_when_the_queue_is_full(gated: GatedStore) -> None:
    tier = Tier(gated, queue_items=3)
    cache = VisionFeatureCache()
    cache._tier, tier._report = tier, cache._store_failed
    with pytest.warns(StoreWarning, match="its oldest write was dropped") as warned:
        cache.put("first", features(0))
        assert gated.entered.acquire(timeout=20)
        for number in range(10):
            cache.put(str(number), features(number))
        assert (cache.info().store.queued, cache.info().store.dropped) == (3, 7)
        gated.open.set()
        assert cache.flush(60)
    assert len(warned) == 1
    assert sorted(key.text for key in gated.entries) == ["s:7", "s:8", "s:9", "s:first"]
    assert kinds(cache).count("store-error") == 7
    assert cache.info().store.errors == 7


def test_the_queue_is_bounded_in_bytes(gated: GatedStore) -> None:
    value = features(size=1000)
    tier = Tier(gated, queue_bytes=3 * value.nbytes)
    for number in range(10):
        tier.submit(tier.write(Key.from_source(str(number)), value))
    assert gated.entered.acquire(timeout=20)
    assert tier.info().queued_bytes <= 3 * value.nbytes
    assert tier.info().dropped >= 6


def test_a_dropped_overwrite_does_not_leave_the_old_value_behind(gated: GatedStore) -> None:
    gated.open.set()
    tier = Tier(gated, queue_items=1)
    key = Key.from_source("a.jpg")
    tier.submit(tier.write(key, features(1)))
    assert tier.flush(60)
    gated.open.clear()
    while gated.entered.acquire(blocking=False):
        pass
    tier.submit(tier.write(Key.from_source("blocks the worker"), features(2)))
    assert gated.entered.acquire(timeout=20)
    tier.submit(tier.write(key, features(3)))
    with pytest.warns(StoreWarning):
        tier.submit(tier.write(Key.from_source("takes its place"), features(4)))
        assert tier.load(key) is None
        gated.open.set()
        assert tier.flush(60)
    assert key not in gated.entries
    assert tier.load(key) is None


def test_a_write_that_fails_does_not_leave_the_old_value_behind(gated: GatedStore) -> None:
    gated.open.set()
    cache = VisionFeatureCache(max_size=1, store=gated)
    cache.put("a.jpg", features(1))
    cache.flush(60)
    gated.fails = True
    with pytest.warns(StoreWarning, match="put: it is broken"):
        cache.put("a.jpg", features(2))
        cache.flush(60)
    cache.put("b.jpg", features(3))
    assert cache.get("a.jpg") is None
    gated.fails = False
    cache.put("c.jpg", features(4))
    cache.flush(60)
    assert Key.of("a.jpg") not in gated.entries


def test_values_that_a_store_can_not_keep_stay_in_memory(folder: Path) -> None:
    cache = VisionFeatureCache(store=folder)
    value = np.zeros(3)
    with pytest.warns(StoreWarning, match="a store keeps mlx arrays; found ndarray"):
        assert cache.put("a.jpg", value)
    assert cache.get("a.jpg") is value
    cache.flush(60)
    assert len(DiskStore(folder)) == 0


def test_entries_can_be_read_without_a_cache(folder: Path) -> None:
    cache = VisionFeatureCache(store=folder)
    value = features()
    cache.put("a.jpg", value, label="cat", meta={"tokens": 4})
    cache.close()
    stored = decode(DiskStore(folder).get(Key.of("a.jpg")))
    assert bits(stored.value) == bits(value)
    assert (stored.key, stored.meta["label"], stored.meta["meta"]) == ("s:a.jpg", "cat", {"tokens": 4})


# Removing -------------------------------------------------------------------------------------------


def test_pop_reaches_the_store(folder: Path) -> None:
    cache = VisionFeatureCache(store=folder)
    cache.put("a.jpg", features())
    cache.flush(60)
    cache.pop("a.jpg")
    assert cache.get("a.jpg") is None  # at once, before anything is removed there
    cache.flush(60)
    assert len(DiskStore(folder)) == 0


def test_pop_removes_what_only_the_store_has(folder: Path) -> None:
    first = VisionFeatureCache(store=folder)
    first.put("a.jpg", features())
    first.close()
    cache = VisionFeatureCache(store=folder)
    assert cache.pop("a.jpg", "nothing in memory") == "nothing in memory"
    assert cache.get("a.jpg") is None
    cache.close()
    assert len(DiskStore(folder)) == 0


def test_clear_reaches_the_store_and_what_waits(gated: GatedStore) -> None:
    cache = VisionFeatureCache(store=gated)
    cache.put("a.jpg", features(1))
    assert gated.entered.acquire(timeout=20)
    cache.put("b.jpg", features(2))
    cache.clear()
    cache.put("c.jpg", features(3))
    cache._lru.clear()
    assert cache.get("a.jpg") is None
    assert cache.get("b.jpg") is None
    assert cache.get("c.jpg") is not None
    gated.open.set()
    cache.flush(60)
    assert [key.text for key in gated.entries] == ["s:c.jpg"]


def test_clear_of_a_scope_leaves_what_waits_for_others(gated: GatedStore) -> None:
    tier = Tier(gated)
    tier.submit(tier.write(Key.from_source("blocks the worker"), features()))
    assert gated.entered.acquire(timeout=20)
    mine, other = (Key.from_source("a").scoped(scope) for scope in ("mine", "other"))
    for key in (mine, other):
        tier.submit(tier.write(key, features()))
    tier.clear("mine")
    assert tier.load(mine) is None
    assert tier.load(other) is not None
    gated.open.set()
    tier.flush(60)
    assert set(gated.entries) == {Key.from_source("blocks the worker"), other}


@pytest.mark.parametrize("remove", [lambda c: c.pop("a.jpg"), lambda c: c.clear()])
def test_a_removal_that_fails_is_owed_until_the_store_works(
    gated: GatedStore, remove: Callable[[VisionFeatureCache], Any]
) -> None:
    gated.open.set()
    cache = VisionFeatureCache(store=gated)
    cache.put("a.jpg", features())
    cache.flush(60)
    gated.fails = True
    with pytest.warns(StoreWarning, match="delete: it is broken"):
        remove(cache)
        cache.flush(60)
    assert cache.get("a.jpg") is None
    assert len(gated) == 1
    gated.fails = False
    cache.put("b.jpg", features())
    cache.flush(60)
    assert Key.of("a.jpg") not in gated.entries


# Ending ---------------------------------------------------------------------------------------------


def test_after_close_memory_works_on(folder: Path) -> None:
    cache = VisionFeatureCache(store=folder)
    cache.put("a.jpg", features())
    assert cache.close()
    assert cache.close()
    assert cache.get("a.jpg") is not None
    cache.put("b.jpg", features())
    assert cache.get("c.jpg") is None
    assert len(DiskStore(folder)) == 1


def test_a_with_block_closes_the_cache_also_where_it_fails(folder: Path) -> None:
    with VisionFeatureCache(store=folder) as cache:
        cache.put("a.jpg", features())
    assert len(DiskStore(folder)) == 1
    with pytest.raises(ZeroDivisionError), cache:
        raise ZeroDivisionError
    cache.put("b.jpg", features())
    assert len(DiskStore(folder)) == 1
    assert cache.get("b.jpg") is not None


def test_close_gives_up_on_a_store_that_does_not_answer(gated: GatedStore) -> None:
    cache = VisionFeatureCache(store=gated)
    cache.put("a.jpg", features(1))
    assert gated.entered.acquire(timeout=20)
    cache.put("b.jpg", features(2))
    assert not cache.close(timeout=0.01)
    assert cache.info().store.dropped == 1


EXIT = """
import sys, mlx.core as mx
from visioncache import VisionFeatureCache
cache = VisionFeatureCache(store=sys.argv[1])
for number in range(20):
    cache.put(str(number), mx.full((1000, 1000), number))
"""


def test_an_interpreter_that_exits_writes_what_waits(folder: Path) -> None:
    subprocess.run([sys.executable, "-c", EXIT, str(folder)], check=True, timeout=60)
    cache = VisionFeatureCache(store=folder)
    assert [cache.get(str(number))[0, 0].item() for number in range(20)] == list(range(20))
    assert list((folder / "writers").iterdir()) == []


STUCK = """
import threading, mlx.core as mx, visioncache.stores.tier as tier
from visioncache import VisionFeatureCache
class Stuck:
    def get(self, key): return None
    def put(self, key, data): threading.Event().wait()
    def delete(self, key): return False
    def clear(self, scope=None): pass
    def __len__(self): return 0
    def volume(self): return 0
    def close(self): pass
tier.EXIT_SECONDS = 0.3
caches = [VisionFeatureCache(store=Stuck()) for _ in range(5)]
for cache in caches: cache.put("a", mx.zeros(3))
"""


def test_an_exit_is_not_held_up_by_stores_that_are_stuck() -> None:
    start = time.monotonic()
    subprocess.run([sys.executable, "-c", STUCK], check=True, timeout=60)
    assert time.monotonic() - start < 10


def test_a_cache_that_nobody_holds_is_collected(folder: Path) -> None:
    cache = VisionFeatureCache(store=folder)
    cache.put("a.jpg", features())
    cache.flush(60)
    gone = weakref.ref(cache)
    del cache
    deadline = time.monotonic() + 20
    while gone() is not None and time.monotonic() < deadline:
        gc.collect()
    assert gone() is None


def test_an_idle_cache_has_no_thread(folder: Path) -> None:
    before = threading.active_count()
    cache = VisionFeatureCache(store=folder)
    cache.put("a.jpg", features())
    cache.flush(60)
    deadline = time.monotonic() + 20
    while threading.active_count() > before and time.monotonic() < deadline:
        pass
    assert threading.active_count() <= before


# Telling --------------------------------------------------------------------------------------------


def test_info_tells_what_the_store_did_and_reset_starts_anew(folder: Path) -> None:
    cache = VisionFeatureCache(max_size=1, store=folder)
    cache.put("a.jpg", features(1))
    cache.put("b.jpg", features(2))
    cache.flush(60)
    cache.get("a.jpg")
    cache.get("c.jpg")
    store = cache.info().store
    assert (store.hits, store.misses, store.errors, store.writes) == (1, 1, 0, 2)
    assert store.bytes_written == DiskStore(folder).volume()
    assert store.bytes_read == store.bytes_written // 2
    assert (store.queued, store.queued_bytes, store.dropped) == (0, 0, 0)
    assert "store: 1 hits" in str(cache.info())
    cache.reset_info()
    assert cache.info().store.hits == cache.info().store_hits == 0


def test_watch_counts_what_came_from_the_store(folder: Path) -> None:
    cache = VisionFeatureCache(max_size=1, store=folder)
    cache.put("a.jpg", features(1))
    cache.put("b.jpg", features(2))
    cache.flush(60)
    with cache.watch() as delta:
        cache.get("a.jpg")
    assert (delta.store_hits, delta.hits, delta.misses, delta.hit_rate) == (1, 0, 0, 1.0)
    assert "1 from the store" in str(delta)


def test_repr_names_the_store(folder: Path) -> None:
    assert repr(VisionFeatureCache(store=folder)).endswith(f"store=DiskStore('{folder}'))")
    assert "store" not in repr(VisionFeatureCache())


def test_what_is_no_store_is_refused_with_what_is() -> None:
    with pytest.raises(TypeError, match="a folder, a URL, or an object with the methods of Store"):
        VisionFeatureCache(store=3)


def test_without_a_store_flush_and_close_have_nothing_to_do() -> None:
    cache = VisionFeatureCache()
    assert cache.flush(0)
    assert cache.close()
    assert cache.info().store is None


def test_what_the_store_answered_is_told_wherever_look_ups_are(tmp_path: Path) -> None:
    pytest.importorskip("IPython")
    from visioncache import plots
    from visioncache.jupyter.snapshot import History, Names, snapshot
    from visioncache.study import miss_ratio_curve, recommend
    from visioncache.study.trace.lookups import requests
    from visioncache.study.trace.traces import trace_frame

    cache = VisionFeatureCache(1, store=str(tmp_path))
    for name in "ab":
        cache.put(name, mx.zeros((8,)), seconds=1.0)
    cache.flush()
    history = History(clock=lambda: 0.0)
    with cache.watch() as delta:
        for name in "abb":
            cache.get(name)
    cache.get("c")
    history.add(cache.info())
    for html in (cache._repr_html_(), cache.info()._repr_html_(), delta._repr_html_()):
        assert "<b>2</b> from the store" in html
    assert "100%" in delta._repr_html_()
    view, _ = snapshot(cache, Names(), now=0.0)
    assert (view["hits"], view["store_hits"], view["misses"]) == (1, 2, 1)
    assert history.rows()[0][1:3] == [3, 1]
    line = plots.hit_rate(cache).lines[-1]
    assert list(line.get_ydata()) == [1, 1, 1, 0.75]
    asked = requests(trace_frame(cache.events))
    assert list(asked["outcome"]) == ["store-hit", "store-hit", "hit"]
    assert list(asked["nbytes"]) == [32, 32, 32]
    assert recommend(cache.events).ceiling == pytest.approx(1 / 3)
    assert miss_ratio_curve(cache.events, capacities=[2])["miss_ratio"].tolist() == pytest.approx([2 / 3])
    cache.close()
