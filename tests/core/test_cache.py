"""VisionFeatureCache: what it promises beyond the contract it shares with mlx-vlm's."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import sys
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image

from visioncache import Event, Key, VisionFeatureCache
from visioncache.stores import DiskStore

if TYPE_CHECKING:
    from pathlib import Path


class Clock:
    """Seconds that pass when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def value(size: int) -> Any:
    """A value of so many bytes."""
    return np.zeros(size, np.uint8)


def filled(names: str = "abc", size: int = 10, **bounds: Any) -> VisionFeatureCache:
    cache = VisionFeatureCache(**bounds)
    for name in names:
        cache.put(name, value(size))
    return cache


def order(cache: VisionFeatureCache) -> str:
    return "".join(key.text[2:] for key in cache.keys())  # not a dict


# Bounds ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bound", [0, -1, True, 2.5, "20", float("nan")])
def test_a_number_of_entries_that_holds_nothing_is_refused(bound: Any) -> None:
    with pytest.raises(ValueError, match=r"max_size=.*at least 1 entry"):
        VisionFeatureCache(bound)
    cache = filled()
    with pytest.raises(ValueError, match="max_size="):
        cache.max_size = bound
    assert (order(cache), cache.max_size) == ("abc", 20)


@pytest.mark.parametrize("bound", [0, -5, 0.2, "0 GB"])
def test_a_budget_that_holds_nothing_is_refused(bound: Any) -> None:
    with pytest.raises(ValueError, match="at least 1 byte"):
        VisionFeatureCache(max_bytes=bound)


@pytest.mark.parametrize("bound", ["lots", "2 XB", float("inf"), True])
def test_a_budget_that_is_no_size_is_refused(bound: Any) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        VisionFeatureCache(max_bytes=bound)


def test_bounds_are_read_as_people_write_them() -> None:
    assert VisionFeatureCache(max_bytes="2 GiB").max_bytes == 2 << 30
    assert VisionFeatureCache(max_bytes="500MB").max_bytes == 500_000_000
    assert VisionFeatureCache(None).max_size is None
    assert VisionFeatureCache(np.int64(7)).max_size == 7


def test_bytes_are_bounded_as_entries_are() -> None:
    cache = filled("abc", max_bytes=30)
    cache.put("d", value(15))
    assert (order(cache), cache.nbytes) == ("cd", 25)


def test_a_value_larger_than_the_budget_is_refused_before_anything_goes() -> None:
    cache = filled("abc", max_bytes=30)
    assert cache.put("d", value(31)) is False
    assert (order(cache), cache.nbytes, cache.info().rejects) == ("abc", 30, 1)
    assert (cache.events[-1].kind, cache.events[-1].key, cache.events[-1].nbytes) == (
        "reject",
        Key.of("d"),
        31,
    )


def test_an_overwrite_that_outgrows_the_budget_is_refused_and_the_old_value_stays() -> None:
    cache = filled("abc", max_bytes=30)
    before = cache.peek("a")
    assert cache.put("a", value(11)) is False
    assert cache.peek("a") is before
    assert order(cache) == "abc"
    assert cache.put("a", value(5)) is True
    assert (order(cache), cache.nbytes) == ("bca", 25)


def test_shrinking_evicts_the_least_recently_used_and_growing_nothing() -> None:
    cache = filled("abcde")
    cache.resize(max_size=3)
    assert (order(cache), cache.max_size) == ("cde", 3)
    cache.max_bytes = "20 B"
    assert (order(cache), cache.max_bytes) == ("de", 20)
    cache.resize(None, None)
    assert (order(cache), cache.max_size, cache.max_bytes) == ("de", None, None)
    assert [event.kind for event in cache.events][-5:] == ["evict", "resize", "evict", "resize", "resize"]


# Pins --------------------------------------------------------------------------------------------


def test_what_is_pinned_is_not_evicted_and_what_is_unpinned_keeps_its_turn() -> None:
    cache = filled("abc", max_size=3)
    assert cache.pin("a")
    cache.put("d", value(1))
    assert order(cache) == "acd"
    assert cache.unpin("a")
    cache.put("e", value(1))
    assert order(cache) == "cde"


def test_unpinned_ones_go_in_the_order_of_their_use_whatever_the_order_of_unpinning() -> None:
    cache = filled("abcdef", max_size=6)
    for name in "abcd":
        cache.pin(name)
    for name in "cadb":
        cache.unpin(name)
    for name in "uvwxyz":
        cache.put(name, value(1))
    assert [event.label for event in cache.events if event.kind == "evict"] == list("abcdef")


def test_a_put_is_refused_when_everything_is_pinned() -> None:
    cache = filled("ab", max_size=2)
    cache.pin("a")
    cache.pin("b")
    assert cache.put("c", value(1)) is False
    assert order(cache) == "ab"
    assert cache.put("a", value(3)) is True
    with pytest.raises(ValueError, match="2 pinned entries hold 13 B"):
        cache.resize(max_size=1)
    assert cache.max_size == 2


def test_pins_go_with_their_entry() -> None:
    cache = filled("ab", max_size=2)
    cache.pin("a")
    assert cache.pop("a") is not None
    cache.put("a", value(1))
    assert [entry.pinned for entry in cache.entries()] == [False, False]
    assert (cache.pin("x"), cache.unpin("x")) == (False, False)
    cache.pin("b")
    cache.clear()
    assert (len(cache), cache.nbytes, cache.put("c", value(1))) == (0, 0, True)


# Values and descriptions -------------------------------------------------------------------------


def test_values_are_trees_of_arrays_and_come_back_as_the_very_object() -> None:
    cache = VisionFeatureCache()
    for features in (mx.zeros(2), (mx.zeros(2), [None, mx.zeros(3)]), {"hidden": mx.zeros(4)}):
        assert cache.put("a", features)
        assert cache.get("a") is features
    for nothing in (None, "text", [3], memoryview(b"x")):
        with pytest.raises(TypeError):
            cache.put("a", nothing)
    assert cache.get("a") is features


def test_an_entry_tells_what_is_held() -> None:
    clock = Clock()
    cache = VisionFeatureCache(clock=clock)
    cache.put("a.jpg", (mx.zeros((4, 8), mx.bfloat16), mx.zeros(2)), seconds=0.5, meta={"tokens": 4})
    clock.now = 3.0
    cache.get("a.jpg")
    entry = cache.entry("a.jpg")
    assert entry is not None
    assert (entry.key, entry.label, entry.nbytes) == (Key.of("a.jpg"), "a.jpg", 72)
    assert (entry.shape, entry.dtype, entry.hits) == ((4, 8), "bfloat16", 1)
    assert (entry.created, entry.last_used, entry.seconds) == (0.0, 3.0, 0.5)
    assert (entry.pinned, entry.meta) == (False, {"tokens": 4})
    assert cache.entry("b") is None
    assert cache._get_with_meta("a.jpg") == (cache.peek("a.jpg"), {"tokens": 4})
    assert cache._get_with_meta("b") is None


def test_a_sizer_of_ones_own_may_hold_anything() -> None:
    cache = VisionFeatureCache(max_bytes=5, sizer=len)
    assert cache.put("a", "text")
    assert (cache.nbytes, cache.entries()[0].shape, cache.entries()[0].dtype) == (4, (), "")


def test_labels_say_what_the_caller_called_the_image(tmp_path: Path) -> None:
    cache = VisionFeatureCache()
    path = tmp_path / "photo.png"
    Image.new("RGB", (2, 2)).save(path)
    sources = [
        "a.jpg",
        path,
        Image.open(path),
        Image.new("L", (3, 3)),
        b"jpeg",
        ["a", "b"],
        Key.of("k").scoped("m"),
    ]
    for source in sources:
        cache.put(source, value(1))
    labels = [entry.label for entry in cache.entries()]
    assert labels == ["a.jpg", str(path), str(path), "Image", "bytes", "a, b", "s:k"]
    cache.put("a.jpg", value(1), label="The harbour")
    assert cache.entries()[-1].label == "The harbour"


def test_the_key_that_was_put_is_the_one_that_is_held() -> None:
    cache, key = VisionFeatureCache(2), Key.of("a")
    cache.put(key, value(1))
    cache.put(Key.of("a"), value(2))
    cache.get(Key.of("a"))
    assert cache.keys()[0] is key
    assert all(event.key is key for event in cache.events)


def test_its_repr_is_structural() -> None:
    assert repr(filled("ab")) == "VisionFeatureCache(2 of 20 entries, 20 B)"
    assert repr(VisionFeatureCache(None, "2 GiB")) == "VisionFeatureCache(0 entries, 0 B of 2 GiB)"


# Counting, watching, tagging ---------------------------------------------------------------------


def test_info_counts_since_the_last_reset_and_entries_stay() -> None:
    cache = VisionFeatureCache(2)
    cache.put("a", value(10), seconds=0.25)
    for name in "aaxa":
        cache.get(name)
    info = cache.info()
    assert (info.hits, info.misses, info.puts, info.evictions, info.rejects) == (3, 1, 1, 0, 0)
    assert (info.size, info.max_size, info.nbytes, info.max_bytes) == (1, 2, 10, None)
    assert (info.hit_rate, info.seconds_saved) == (0.75, 0.75)
    assert "3 hits, 1 miss, 75% hit rate" in str(info)
    cache.reset_info()
    info = cache.info()
    assert (info.hits, info.misses, info.puts, info.hit_rate, info.seconds_saved) == (0, 0, 0, 0.0, 0.0)
    assert (info.size, len(cache.events)) == (1, 5)


def test_peeking_and_asking_count_nothing() -> None:
    cache = filled("ab")
    before = len(cache.events)
    assert cache.peek("a") is not None
    assert cache.peek("x", "default") == "default"
    assert "a" in cache
    assert cache.pop("x", "default") == "default"
    assert order(cache) == "ab"
    assert (len(cache.events), cache.info().hits, cache.info().misses) == (before, 0, 0)


def test_a_watch_tells_what_happened_inside_even_across_a_reset() -> None:
    clock = Clock()
    cache = VisionFeatureCache(2, clock=clock)
    cache.put("a", value(10), seconds=2.0)
    with cache.watch() as outer:
        cache.get("a")
        with cache.watch() as inner:
            clock.now += 5
            cache.reset_info()
            cache.get("x")
            cache.put("b", value(20))
            cache.put("c", value(30))
    assert (inner.hits, inner.misses, inner.puts, inner.evictions) == (0, 1, 2, 1)
    assert (inner.bytes_added, inner.bytes_evicted, inner.nbytes, inner.elapsed) == (50, 10, 40, 5.0)
    assert (outer.hits, outer.misses, outer.seconds_saved, outer.hit_rate) == (1, 1, 2.0, 0.5)


def test_a_watch_is_filled_when_its_block_raises() -> None:
    cache = filled("a")
    with pytest.raises(KeyError), cache.watch() as delta:
        cache.get("a")
        raise KeyError
    assert delta.hits == 1


def test_tags_mark_the_events_of_their_block_thread_and_cache() -> None:
    cache, other = VisionFeatureCache(), VisionFeatureCache()

    def elsewhere() -> None:
        cache.get("in a thread")

    with cache.tag(session="album", turn=1):
        with cache.tag(turn=2, arm="ours"):
            cache.get("inner")
            thread = threading.Thread(target=elsewhere)
            thread.start()
            thread.join()
        cache.get("outer")
        other.get("other")
    cache.get("after")
    tags = {event.key.text[2:]: dict(event.tags) for event in cache.events if event.key}
    assert tags == {
        "inner": {"session": "album", "turn": 2, "arm": "ours"},
        "in a thread": {},
        "outer": {"session": "album", "turn": 1},
        "after": {},
    }
    assert dict(other.events[0].tags) == {}


def test_every_operation_is_an_event() -> None:
    cache = VisionFeatureCache(2, 50, clock=Clock())
    cache.get("a")
    cache.put("a", value(10), seconds=0.5)
    cache.get("a")
    cache.put("b", value(10))
    cache.put("c", value(10))
    cache.put("d", value(60))
    cache.pop("c")
    cache.resize(max_bytes=40)
    cache.clear()
    seen = [(event.kind, event.label, event.nbytes, event.seconds) for event in cache.events]
    assert seen == [
        ("miss", "", 0, 0.0),
        ("put", "a", 10, 0.5),
        ("hit", "a", 10, 0.5),
        ("put", "b", 10, 0.0),
        ("evict", "a", 10, 0.5),
        ("put", "c", 10, 0.0),
        ("reject", "d", 60, 0.0),
        ("pop", "c", 10, 0.0),
        ("resize", "", 40, 0.0),
        ("clear", "", 10, 0.0),
    ]
    assert list(cache.events.to_frame()["kind"]) == [kind for kind, *_ in seen]


# Subscribers -------------------------------------------------------------------------------------


def test_a_subscriber_hears_every_event_until_it_unsubscribes() -> None:
    cache, heard = VisionFeatureCache(1), []
    unsubscribe = cache.subscribe(heard.append)
    cache.put("a", value(1))
    cache.put("b", value(1))
    assert heard == list(cache.events)
    unsubscribe()
    unsubscribe()
    cache.get("b")
    assert [event.kind for event in heard] == ["put", "evict", "put"]


def test_one_function_may_subscribe_twice() -> None:
    cache, heard = VisionFeatureCache(), []
    first, second = cache.subscribe(heard.append), cache.subscribe(heard.append)
    first()
    cache.get("a")
    assert len(heard) == 1
    second()


def test_what_is_no_function_can_not_subscribe() -> None:
    with pytest.raises(TypeError, match=r"subscribe\(3\): a function of one event"):
        VisionFeatureCache().subscribe(3)  # type: ignore[arg-type]


def test_a_subscriber_that_raises_is_reported_once_and_the_others_hear_on() -> None:
    cache, heard = VisionFeatureCache(), []

    def broken(_: Event) -> None:
        raise RuntimeError("widget closed")

    cache.subscribe(broken)
    cache.subscribe(heard.append)
    with pytest.warns(UserWarning, match=r"raised RuntimeError.*widget closed.*and was removed") as caught:
        assert cache.put("a", value(1))
    assert cache.get("a") is not None
    assert len(caught) == 1
    assert [event.kind for event in heard] == ["put", "hit"]


def test_a_subscriber_may_use_the_cache_and_wait_for_a_thread_that_does() -> None:
    cache = filled("a")
    sizes = []

    def ask(_: Event) -> None:
        thread = threading.Thread(target=lambda: sizes.append(cache.info().size), daemon=True)
        thread.start()
        thread.join(5)
        cache.peek("a")

    unsubscribe = cache.subscribe(ask)
    for call in (cache.get, cache._get_with_meta, cache.pop):
        call("a")
        assert len(sizes) == len(cache.events) - 1  # the put came before
    unsubscribe()


def test_subscribers_that_come_and_go_on_many_threads_are_all_kept() -> None:
    cache, heard = VisionFeatureCache(), []
    start, interval = threading.Barrier(8), sys.getswitchinterval()

    def come_and_go(number: int) -> None:
        start.wait(10)
        for _ in range(300):
            cache.subscribe(lambda _: None)()
        cache.subscribe(lambda _: heard.append(number))

    threads = [threading.Thread(target=come_and_go, args=(number,)) for number in range(8)]
    try:
        sys.setswitchinterval(1e-6)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    finally:
        sys.setswitchinterval(interval)
    cache.get("a")
    assert sorted(heard) == list(range(8))
    assert len(cache._journal.subscribers) == 8


@pytest.mark.parametrize(
    ("extras", "error"),
    [
        ({"seconds": "x"}, TypeError),
        ({"seconds": float("nan")}, ValueError),
        ({"seconds": -1.0}, ValueError),
        ({"label": 3}, TypeError),
        ({"meta": 3}, TypeError),
    ],
)
def test_what_would_break_later_is_refused_by_put(extras: dict[str, Any], error: type[Exception]) -> None:
    cache = filled()
    before = cache.info()
    with pytest.raises(error, match=next(iter(extras))):
        cache.put("a", value(10), **extras)
    assert (cache.info(), order(cache)) == (before, "abc")


@pytest.mark.parametrize("store", ["", "file://"])
def test_a_store_without_a_name_is_refused(store: str) -> None:
    with pytest.raises(ValueError, match="names no folder"):
        VisionFeatureCache(store=store)


# Copies -------------------------------------------------------------------------------------------


def doubled(value: Any) -> int:
    return 2


COPIES = [copy.copy, copy.deepcopy, lambda cache: pickle.loads(pickle.dumps(cache))]  # noqa: S301  # our own


@pytest.mark.parametrize("copied", COPIES)
def test_a_copy_has_the_settings_and_no_entries(copied: Any, tmp_path: Path) -> None:
    cache = VisionFeatureCache(7, "3 MB", log=9, clock=time.perf_counter, sizer=doubled)
    seen = []
    cache.subscribe(seen.append)
    cache.put("a", mx.zeros(4))
    other = copied(cache)
    assert type(other) is VisionFeatureCache
    assert (other.max_size, other.max_bytes, other.events.maxlen) == (7, 3_000_000, 9)
    assert (other._clock, other._sizer) == (time.perf_counter, doubled)
    assert (len(other), other.info().puts, len(other.events)) == (0, 0, 0)
    other.put("b", mx.zeros(4))
    assert ("b" in cache, "a" in other, len(seen)) == (False, False, 1)
    other.resize(max_size=1)
    assert cache.max_size == 7


@pytest.mark.parametrize("copied", COPIES)
def test_a_copy_uses_the_same_folder(copied: Any, tmp_path: Path) -> None:
    with closing(VisionFeatureCache(store=DiskStore(tmp_path, "5 MB"))) as cache:
        cache.put("a", mx.arange(4))
        cache.flush()
        with closing(copied(cache)) as other:
            assert repr(other._tier.store) == repr(cache._tier.store)
            assert other.get("a").tolist() == [0, 1, 2, 3]
        assert cache.get("a") is not None


def test_a_copy_of_a_subclass_is_one_too() -> None:
    assert type(copy.deepcopy(Mine(5))) is Mine
    assert pickle.loads(pickle.dumps(Mine(5))).max_size == 5  # noqa: S301  # our own


class Mine(VisionFeatureCache):
    """Somebody's own."""


def test_a_worker_that_was_spawned_gets_a_cache_of_its_own() -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        cache = VisionFeatureCache(3)
        cache.put("a", mx.zeros(4))
        assert pool.apply(repr, (cache,)) == repr(VisionFeatureCache(3))
