"""Single flight: one computes, the others wait; errors, interrupts and circles end well."""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from interrupts import struck

from visioncache import VisionFeatureCache
from visioncache.flight import Flights

if TYPE_CHECKING:
    from collections.abc import Callable

THREADS = 32
PATIENCE = 20  # seconds until a test that hangs gives up


def all_waiting(cache: VisionFeatureCache, count: int) -> None:
    """Return once so many threads wait for another one's flight."""
    while len(cache._flights._waiting) < count:  # threads, not tasks
        threading.Event().wait(0.001)


def in_threads(count: int, call: Callable[[], Any]) -> list[Any]:
    """Return what a call returned or raised in each of so many threads at once."""
    start = threading.Barrier(count)

    def attempt() -> Any:
        start.wait(PATIENCE)
        try:
            return call()
        except BaseException as error:  # noqa: BLE001  # the test looks at it
            return error

    with ThreadPoolExecutor(count) as pool:
        return [future.result(PATIENCE) for future in [pool.submit(attempt) for _ in range(count)]]


def test_thirty_two_threads_compute_once_and_all_get_the_one_object() -> None:
    cache, calls = VisionFeatureCache(), []

    def compute() -> Any:
        calls.append(threading.get_ident())
        all_waiting(cache, THREADS - 1)
        return np.zeros(3)

    values = in_threads(THREADS, lambda: cache.get_or_compute("a", compute))
    info = cache.info()
    assert len(calls) == 1
    assert all(value is values[0] for value in values)
    assert (info.hits, info.misses, info.puts) == (THREADS - 1, 1, 1)


def test_an_exception_goes_to_all_that_wait_and_nothing_is_stored() -> None:
    cache, failure = VisionFeatureCache(), RuntimeError("no such tower")

    def compute() -> Any:
        all_waiting(cache, THREADS - 1)
        raise failure

    assert in_threads(THREADS, lambda: cache.get_or_compute("a", compute)) == [failure] * THREADS
    assert (len(cache), cache.info().puts) == (0, 0)
    assert cache.get_or_compute("a", lambda: np.ones(1)) is cache.get("a")


def test_when_the_leader_is_interrupted_the_next_that_waits_leads() -> None:
    cache, calls = VisionFeatureCache(), []

    def compute() -> Any:
        calls.append(1)
        if len(calls) == 1:
            all_waiting(cache, THREADS - 1)
            raise KeyboardInterrupt
        return np.zeros(3)

    results = in_threads(THREADS, lambda: cache.get_or_compute("a", compute))
    assert len(calls) == 2
    assert sum(isinstance(result, KeyboardInterrupt) for result in results) == 1
    values = [result for result in results if not isinstance(result, KeyboardInterrupt)]
    assert all(value is cache.peek("a") for value in values)


def test_computing_one_image_may_ask_for_another() -> None:
    cache = VisionFeatureCache()
    inner = np.ones(1)

    def outer() -> Any:
        return [cache.get_or_compute("inner", lambda: inner)]

    assert cache.get_or_compute("outer", outer)[0] is inner


def test_computing_an_image_that_asks_for_itself_is_an_error_and_not_a_wait() -> None:
    cache = VisionFeatureCache()

    def again() -> Any:
        return cache.get_or_compute("a", again)

    with pytest.raises(RuntimeError, match="'s:a' asks for 's:a' again"):
        cache.get_or_compute("a", again)
    assert len(cache) == 0
    assert cache.get_or_compute("a", lambda: np.ones(1)) is cache.peek("a")


def test_two_threads_that_ask_for_what_the_other_computes_get_an_error_and_not_a_wait() -> None:
    cache, both = VisionFeatureCache(), threading.Barrier(2)
    ends = iter([("a", "b"), ("b", "a")])

    def crossing() -> Any:
        mine, theirs = next(ends)

        def compute() -> Any:
            both.wait(PATIENCE)
            return cache.get_or_compute(theirs, lambda: np.ones(1))

        return cache.get_or_compute(mine, compute)

    results = in_threads(2, crossing)
    assert all(isinstance(result, RuntimeError) for result in results)
    assert not cache._flights._flights
    assert not cache._flights._waiting


def test_a_wait_that_has_ended_is_no_circle() -> None:
    # The second thread lands "b" and at once asks for "a", before the first, which leads "a" and
    # waited for "b", has run again: nobody waits for ever here.
    flights, b_flies = Flights(), threading.Event()

    def lead_a() -> Any:
        b_flies.wait(PATIENCE)
        return flights.run("b", lambda: "b by a")

    def lead_b_then_a() -> Any:
        def compute() -> str:
            b_flies.set()
            while not flights._waiting:
                threading.Event().wait(0.001)
            sys.setswitchinterval(PATIENCE)
            return "b"

        return flights.run("b", compute), flights.run("a", lambda: "a by b")

    interval = sys.getswitchinterval()
    try:
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(flights.run, "a", lead_a)
            second = pool.submit(lead_b_then_a)
            assert second.result(PATIENCE)[0] == ("b", True)
            assert first.result(PATIENCE) == (("b", False), True)
    finally:
        sys.setswitchinterval(interval)


def test_a_failed_computation_is_freed_at_once() -> None:
    # An error's traceback holds its frames and they their arrays: a cycle would keep those.
    class Pixels:
        pass

    cache, seen = VisionFeatureCache(), []

    def compute() -> Any:
        pixels = Pixels()
        seen.append(weakref.ref(pixels))
        raise ValueError("truncated")

    gc.collect()
    gc.disable()
    try:
        with pytest.raises(ValueError, match="truncated") as caught:
            cache.get_or_compute("a", compute)
        del caught
        assert seen[0]() is None
    finally:
        gc.enable()


def test_what_computes_to_none_is_an_error_and_is_not_stored() -> None:
    cache = VisionFeatureCache()
    with pytest.raises(TypeError, match="None can't be stored"):
        cache.get_or_compute("a", lambda: None)
    assert len(cache) == 0


def test_a_value_too_large_to_hold_is_still_given_to_all() -> None:
    cache = VisionFeatureCache(max_bytes=8)

    def compute() -> Any:
        all_waiting(cache, 3)
        return np.zeros(100)

    values = in_threads(4, lambda: cache.get_or_compute("a", compute))
    assert all(value is values[0] for value in values)
    assert (len(cache), cache.info().rejects) == (0, 1)


def test_fill_stores_what_a_get_missed_and_counts_no_look_up_of_its_own() -> None:
    ticks = iter(range(100))
    cache = VisionFeatureCache(clock=lambda: float(next(ticks)))
    assert cache.get("a") is None
    value = cache._fill("a", lambda: np.ones(1), seconds=10.0, label="photo", meta={"tokens": 1})
    assert cache._fill("a", lambda: np.zeros(1)) is value
    entry = cache.entry("a")
    assert entry is not None
    assert (entry.label, entry.seconds, entry.meta) == ("photo", 11.0, {"tokens": 1})
    assert (cache.info().hits, cache.info().misses, cache.info().puts) == (0, 1, 1)


def test_an_interrupt_as_a_flight_lands_ends_it() -> None:
    cache = VisionFeatureCache()
    with pytest.raises(KeyboardInterrupt):
        struck(Flights._leave, lambda: cache.get_or_compute("a", lambda: np.zeros(1)))
    cache.clear()
    assert cache.get_or_compute("a", lambda: np.ones(1)).all()
    cache.clear()
    found = in_threads(2, lambda: cache.get_or_compute("a", lambda: np.ones(1)))
    assert [value.all() for value in found] == [True, True]
