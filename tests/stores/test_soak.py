"""Staying power: many threads for long, and cancellation; nothing lost, nothing leaked, nobody stuck.

`VISIONCACHE_SOAK=10` makes the soak ten times as long (10**6 gets, 10**5 puts is `1`, the default).
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
import psutil
import pytest

from visioncache import Key, VisionFeatureCache
from visioncache.stores import DiskStore

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator
    from pathlib import Path

SCALE = float(os.environ.get("VISIONCACHE_SOAK", "1"))
GETS, PUTS, THREADS = int(1_000_000 * SCALE), int(100_000 * SCALE), 8
STUCK_SECONDS = 300.0


def own_loop(work: Any) -> Any:
    """Run a coroutine on a thread of its own: the browser's tests leave a loop running on this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


@pytest.fixture(autouse=True)
def told_if_stuck() -> Iterator[None]:
    faulthandler.dump_traceback_later(STUCK_SECONDS * max(1, SCALE), exit=False)
    yield
    faulthandler.cancel_dump_traceback_later()


def features(number: int, size: int) -> mx.array:
    return mx.array(np.full(size, number % 251, dtype=np.uint8))


def together(work: Callable[[int], None], threads: int = THREADS) -> None:
    with ThreadPoolExecutor(threads) as pool:
        for future in [pool.submit(work, index) for index in range(threads)]:
            future.result()


def resident() -> int:
    gc.collect()
    mx.clear_cache()
    return psutil.Process().memory_info().rss


def test_an_hour_of_use_in_little_time(tally: Counter[str]) -> None:
    cache = VisionFeatureCache(max_size=None, max_bytes="8 MB", log=1000)
    sizes = [1 << 10, 3 << 10, 16 << 10]
    resident()
    before = mx.get_active_memory()
    wrong: list[str] = []

    def work(thread: int, rounds: int) -> None:
        rng = random.Random(thread)
        for _ in range(rounds):
            number = rng.randrange(3000)
            cache.put(str(number), features(number, rng.choice(sizes)))
            for _ in range(GETS // PUTS):
                number = int(3000 * rng.random() ** 3)
                found = cache.get(str(number))
                if found is not None and rng.random() < 0.01 and found[0].item() != number % 251:
                    wrong.append(str(number))

    def check() -> int:
        held = sum(cache.peek(key).nbytes for key in cache.keys())
        assert cache.nbytes == held <= 8_000_000
        size = resident()
        assert mx.get_active_memory() - before == pytest.approx(held, rel=0.05)
        return size

    total = PUTS // THREADS
    together(lambda thread: work(thread, total // 4))
    early = check()
    together(lambda thread: work(thread, total - total // 4))
    late = check()
    assert late - early < 24 << 20
    assert wrong == []
    info = cache.info()
    assert info.hits + info.misses == total * THREADS * (GETS // PUTS)
    assert info.puts + info.rejects == total * THREADS
    assert info.puts - info.evictions >= len(cache)
    cache.clear()
    assert cache.nbytes == 0
    tally["gets by 8 threads"] += info.hits + info.misses
    tally["puts by 8 threads"] += info.puts + info.rejects
    tally["KiB that they grew the process by"] += (late - early) >> 10


def test_eight_threads_and_a_disk_lose_nothing(tmp_path: Path, tally: Counter[str]) -> None:
    store = DiskStore(tmp_path, max_bytes="4 MB")
    cache = VisionFeatureCache(max_size=30, store=store, log=1000)
    wrong: list[int] = []
    encoded = [0] * THREADS

    def work(thread: int) -> None:
        rng = random.Random(thread)
        for turn in range(int(1500 * SCALE)):
            number = int(200 * rng.random() ** 2)

            def encode(number: int = number) -> mx.array:
                encoded[thread] += 1
                return features(number, 5000)

            if cache.get_or_compute(str(number), encode)[7].item() != number % 251:
                wrong.append(number)
            if turn % 50 == 0:
                cache.pop(str(rng.randrange(200)))

    together(work)
    assert cache.flush(120)
    assert wrong == []
    info = cache.info()
    assert info.store.errors == info.store.dropped == 0
    assert info.store_hits > 0
    assert sum(encoded) < info.hits + info.store_hits
    assert store.volume() <= 4_000_000
    assert store.check()[2:] == (0, 0, 0, 0)
    tally["look-ups by 8 threads through a disk"] += info.hits + info.store_hits + info.misses


def test_no_wake_up_is_lost(tally: Counter[str]) -> None:
    """Threads meet at the same few images over and over; each encode is run by one of them."""
    cache = VisionFeatureCache(max_size=None)
    running: set[int] = set()
    overlaps: list[int] = []
    rounds = int(2000 * SCALE)
    barrier = threading.Barrier(THREADS)

    def work(_: int) -> None:
        for number in range(rounds):
            barrier.wait()

            def encode(number: int = number) -> mx.array:
                if number in running:
                    overlaps.append(number)
                running.add(number)
                return features(number, 10)

            assert cache.get_or_compute(str(number), encode)[0].item() == number % 251

    together(work)
    assert overlaps == []
    assert cache.info().puts == rounds
    tally["meetings of 8 threads at one image"] += rounds


# Cancellation ---------------------------------------------------------------------------------------


def test_an_encode_that_is_interrupted_stores_nothing_anywhere(tmp_path: Path) -> None:
    cache = VisionFeatureCache(store=tmp_path)

    def interrupted() -> mx.array:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.get_or_compute("a.jpg", interrupted)
    assert (len(cache), cache.get("a.jpg")) == (0, None)
    assert cache.flush(60)
    assert len(DiskStore(tmp_path)) == 0
    assert cache.get_or_compute("a.jpg", lambda: features(1, 3)).size == 3


def test_who_waits_for_an_encode_that_is_interrupted_encodes_itself(tmp_path: Path) -> None:
    cache = VisionFeatureCache(store=tmp_path)
    entered, interrupt = threading.Event(), threading.Event()

    def interrupted() -> mx.array:
        entered.set()
        interrupt.wait(60)
        raise KeyboardInterrupt

    def lead() -> None:
        with pytest.raises(KeyboardInterrupt):
            cache.get_or_compute("a.jpg", interrupted)

    values: list[Any] = []
    leader = threading.Thread(target=lead)
    leader.start()
    assert entered.wait(60)
    waiters = [
        threading.Thread(target=lambda: values.append(cache.get_or_compute("a.jpg", lambda: features(1, 3))))
        for _ in range(4)
    ]
    for waiter in waiters:
        waiter.start()
    interrupt.set()
    for thread in (leader, *waiters):
        thread.join(60)
        assert not thread.is_alive()
    assert len({id(value) for value in values}) == 1


def test_a_look_up_that_is_interrupted_while_the_store_answers_leaves_nobody_waiting() -> None:
    entered, interrupt = threading.Event(), threading.Event()

    class Interrupted(dict):  # type: ignore[type-arg]
        calls = 0

        def get(self, _: Any, __: Any = None) -> Any:
            Interrupted.calls += 1
            if Interrupted.calls == 1:
                entered.set()
                interrupt.wait(60)
                raise KeyboardInterrupt
            return None

        def put(self, key: Key, data: bytes) -> None:
            self[key] = data

        def delete(self, key: Key) -> bool:
            return self.pop(key, None) is not None

        def volume(self) -> int:
            return 0

        def close(self) -> None:
            pass

    cache = VisionFeatureCache(store=Interrupted())

    def lead() -> None:
        with pytest.raises(KeyboardInterrupt):
            cache.get("a.jpg")

    found: list[Any] = []
    leader = threading.Thread(target=lead)
    leader.start()
    assert entered.wait(60)
    waiter = threading.Thread(target=lambda: found.append(cache.get("a.jpg")))
    waiter.start()
    interrupt.set()
    leader.join(60)
    waiter.join(60)
    assert found == [None]
    assert cache.info().misses == 1


def test_asyncio_executors_share_one_encode(tmp_path: Path) -> None:
    cache = VisionFeatureCache(store=tmp_path)
    encoded: list[int] = []

    def encode() -> mx.array:
        encoded.append(1)
        value = mx.arange(1000) * 2
        mx.eval(value)
        return value

    async def ask() -> list[Any]:
        return await asyncio.gather(
            *(asyncio.to_thread(cache.get_or_compute, "a.jpg", encode) for _ in range(20))
        )

    values = own_loop(ask())
    assert len(encoded) == 1
    assert [(value + 1)[-1].item() for value in values] == [1999] * 20


def test_a_task_that_is_cancelled_leaves_the_encode_to_finish(tmp_path: Path) -> None:
    cache = VisionFeatureCache(store=tmp_path)
    entered, proceed = threading.Event(), threading.Event()

    def encode() -> mx.array:
        entered.set()
        proceed.wait(60)
        return features(1, 3)

    async def cancel() -> None:
        task = asyncio.create_task(asyncio.to_thread(cache.get_or_compute, "a.jpg", encode))
        await asyncio.to_thread(entered.wait, 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        proceed.set()

    own_loop(cancel())
    assert cache.get_or_compute("a.jpg", encode).size == 3
    assert cache.info().puts == 1
    assert cache.close(60)
    assert len(DiskStore(tmp_path)) == 1


def test_arrays_from_the_store_work_on_threads_that_did_not_load_them(tmp_path: Path) -> None:
    first = VisionFeatureCache(store=tmp_path)
    first.put("a.jpg", (mx.arange(10).astype(mx.bfloat16), [mx.array(3.0)]))
    assert first.close()
    cache = VisionFeatureCache(store=tmp_path)
    with ThreadPoolExecutor(1) as loader:
        loader.submit(cache.get, "a.jpg").result()
    sums: list[float] = []
    together(lambda _: sums.append((cache.get("a.jpg")[0].sum() + cache.get("a.jpg")[1][0]).item()))
    assert sums == [48.0] * THREADS
