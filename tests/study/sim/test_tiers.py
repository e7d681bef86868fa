"""Tiers: as a slow and plain simulation has them, as LRU has one alone, and as the real cache does."""

from __future__ import annotations

from contextlib import closing
from itertools import count
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from traces_for_tests import by_requests, examples, slow_lru, traces

from visioncache import VisionFeatureCache
from visioncache.stores import DiskStore, RedisStore
from visioncache.study import Prefixes, Tier, by_request, by_tile, measured_tier, simulate_tiers, workload
from visioncache.study.sim.tiers import served_from
from visioncache.study.trace.lookups import requests

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import pandas as pd

    from visioncache import Key

bounds = st.integers(1, 30)
made_tiers = st.lists(
    st.builds(
        Tier,
        st.just("t"),
        st.one_of(st.none(), bounds),
        overhead=st.integers(0, 2),
        ttl=st.one_of(st.none(), st.integers(1, 20)),
        admit_after=st.integers(1, 3),
        admit_bytes=st.one_of(st.none(), st.integers(1, 9)),
    ),
    min_size=1,
    max_size=3,
)


def slow_tiers(
    asked: pd.DataFrame, tiers: Sequence[Tier], warm: Sequence[str], prefetch: int
) -> tuple[list[int], list[int]]:
    """Where look-ups are served from, and evictions, step by step: everything is counted anew each time."""
    held: list[list[tuple[str, int, float]]] = [[] for _ in tiers]  # least recently used first
    evicted = [0] * len(tiers)
    names = asked["key"].drop_duplicates().tolist()
    size = dict(zip(asked["key"], asked["nbytes"], strict=True))
    looks: list[str] = []

    def put(t: int, name: str, now: float, *, counted: bool) -> None:
        tier, room = tiers[t], np.inf if tiers[t].max_bytes is None else int(tiers[t].max_bytes)
        needs = size[name] + tier.overhead
        if (counted and looks.count(name) < tier.admit_after) or needs > room:
            return
        if tier.admit_bytes is not None and size[name] > tier.admit_bytes:
            return
        while sum(entry[1] for entry in held[t]) + needs > room:
            held[t].pop(0)
            evicted[t] += 1
        held[t].append((name, needs, now))

    def who_has(name: str) -> int:
        return next((t for t in range(len(tiers)) if any(e[0] == name for e in held[t])), len(tiers))

    def use(t: int, name: str) -> None:
        entry = next(e for e in held[t] if e[0] == name)
        held[t].remove(entry)
        held[t].append(entry)

    def store(name: str, now: float, *, counted: bool) -> None:
        if tiers[0].max_bytes is None or size[name] + tiers[0].overhead <= int(tiers[0].max_bytes):
            for t in range(len(tiers)):
                put(t, name, now, counted=counted)

    for name in warm:
        store(name, asked["time"].iloc[0], counted=False)
    served = []
    for _, request in asked.groupby("batch", sort=False):
        missed, before = [], []
        for name, now in zip(request["key"], request["time"], strict=True):
            for t, tier in enumerate(tiers):
                if tier.ttl is not None:
                    held[t] = [e for e in held[t] if now - e[2] < tier.ttl]
            looks.append(name)
            t = who_has(name)
            is_repeat = t == len(tiers) and name in before  # its request has it, though no tier does
            served.append(0 if is_repeat else t)
            before.append(name)
            if t == len(tiers):
                missed += [] if is_repeat else [name]
            else:
                use(t, name)
                for above in range(t):
                    put(above, name, now, counted=True)
        for name in request["key"]:
            if name in missed and who_has(name) == len(tiers):
                missed.remove(name)
                store(name, now, counted=True)
            at = names.index(name)
            for following in names[at + 1 : at + 1 + prefetch]:
                t = who_has(following)
                if 0 < t < len(tiers):
                    use(t, following)
                    put(0, following, now, counted=True)
    return served, evicted


@given(
    st.one_of(traces(), by_requests()), made_tiers, st.integers(0, 4), st.integers(0, 2), st.integers(0, 5)
)
@hypothesis_settings(max_examples=examples(60), deadline=None)
def test_tiers_are_what_counting_anew_at_every_step_gives(
    trace: pd.DataFrame, tiers: list[Tier], warmed: int, prefetch: int, apart: int
) -> None:
    asked = requests(trace.assign(time=np.arange(len(trace)) * float(apart)))
    warm = asked["key"].drop_duplicates().tolist()[:warmed]
    served = served_from(asked, tiers, warm=warm, prefetch=prefetch)
    assert (served.place.tolist(), served.evictions) == slow_tiers(asked, tiers, warm, prefetch)


@given(traces(), bounds)
@hypothesis_settings(max_examples=examples(30), deadline=None)
def test_one_tier_is_lru(trace: pd.DataFrame, capacity: int) -> None:
    asked = requests(trace)
    served = served_from(asked, [Tier("memory", capacity)])
    expected = slow_lru(asked["key"].tolist(), asked["nbytes"].tolist(), capacity)
    assert (served.place == 0).tolist() == expected


def _replayed(asked: pd.DataFrame, memory: int, folder: Path, disk: int) -> tuple[list[int], int]:
    """Replay look-ups through the real cache with a folder behind it: where each was served, and overhead."""
    ticks = count(1)
    store = DiskStore(folder, disk, clock=lambda: float(next(ticks)))
    served: list[int] = []
    with closing(VisionFeatureCache(None, memory, store=store, log=0)) as cache:
        cache.subscribe(
            lambda event: (
                served.append({"hit": 0, "store-hit": 1, "miss": 2}[event.kind])
                if event.kind in {"hit", "store-hit", "miss"}
                else None
            )
        )
        for _, request in asked.groupby("batch", sort=False):
            missed = [
                row
                for row in zip(request["key"], request["nbytes"], strict=True)
                if cache.get(row[0]) is None
            ]
            for key, size in missed:
                cache.put(key, mx.zeros((size,), mx.uint8))
                assert cache.flush()
        overhead = (store.volume() - sum(_sizes(asked, folder))) // max(len(store), 1)
    return served, overhead


def _sizes(asked: pd.DataFrame, folder: Path) -> list[int]:
    from visioncache.stores.codec import decode

    return [decode(path.read_bytes()).value.nbytes for path in folder.glob("entries/*/*.safetensors")]


REPLAYED = {
    "branches": {"turns": 60},
    "catalogue": {"requests": 150, "items": 40},
    "album": {"sessions": 4, "turns": 12},
}


def _small(name: str) -> pd.DataFrame:
    """Look-ups of values of a few KB, all of four digits: files differ from values by one number of bytes."""
    trace = workload(name, **REPLAYED[name])
    return requests(trace.assign(nbytes=2048 + trace["nbytes"] // 64 % 512 * 8))


@pytest.mark.parametrize("name", REPLAYED)
def test_hits_by_tier_are_the_real_caches_with_a_folder_behind_it(name: str, tmp_path: Path) -> None:
    asked = _small(name)
    whole = int(asked.drop_duplicates("key")["nbytes"].sum())
    _, overhead = _replayed(asked.head(1), whole, tmp_path / "probe", 1 << 30)
    memory, disk = whole // 4, int(whole * 0.6) + overhead
    real, same = _replayed(asked, memory, tmp_path / "folder", disk)
    assert same == overhead
    served = served_from(asked, [Tier("memory", memory), Tier("disk", disk, overhead=overhead)])
    assert served.place.tolist() == real
    assert set(real) == {0, 1, 2}


class DiskThenServer:
    """Two real stores behind one another: what the server has is lifted to the disk, what is put goes to both."""

    def __init__(self, disk: DiskStore, server: RedisStore) -> None:
        self.stores = [disk, server]
        self.served: list[int] = []
        """The store's number of every value that was found."""

    def get(self, key: Key) -> bytes | None:
        for number, store in enumerate(self.stores):
            found = store.get(key)
            if found is not None:
                data = bytes(found)
                for above in self.stores[:number]:
                    above.put(key, data)
                self.served.append(number)
                return data
        return None

    def put(self, key: Key, data: bytes) -> None:
        for store in self.stores:
            store.put(key, data)

    def delete(self, key: Key) -> bool:
        removed = [store.delete(key) for store in self.stores]
        return any(removed)

    def clear(self, scope: str | None = None) -> None:
        for store in self.stores:
            store.clear(scope)

    def __len__(self) -> int:
        return len(self.stores[-1])

    def volume(self) -> int:
        return sum(store.volume() for store in self.stores)

    def close(self) -> None:
        for store in self.stores:
            store.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["branches", "catalogue", "album"])
def test_hits_by_tier_are_the_real_caches_with_a_folder_and_a_server_behind_it(
    name: str, tmp_path: Path, start_server: Callable[..., Any]
) -> None:
    server = start_server("redis")
    asked = _small(name)
    whole = int(asked.drop_duplicates("key")["nbytes"].sum())
    _, overhead = _replayed(asked.head(1), whole, tmp_path / "probe", 1 << 30)
    memory, disk = whole // 5, int(whole * 0.3) + overhead
    ticks = count(1)
    behind = DiskThenServer(
        DiskStore(tmp_path / "folder", disk, clock=lambda: float(next(ticks))),
        RedisStore(f"redis://127.0.0.1:{server.port}/0", timeout=20, prefix=f"{name}:"),
    )
    real = []
    with closing(VisionFeatureCache(None, memory, store=behind, log=0)) as cache:
        for _, request in asked.groupby("batch", sort=False):
            missed = []
            for key, size in zip(request["key"], request["nbytes"].tolist(), strict=True):
                before = cache.info()
                if cache.get(key) is None:
                    missed.append((key, size))
                after = cache.info()
                real.append(
                    0
                    if after.hits > before.hits
                    else 3
                    if after.misses > before.misses
                    else 1 + behind.served[-1]
                )
            for key, size in missed:
                cache.put(key, mx.zeros((size,), mx.uint8))
                assert cache.flush()
        evictions = cache.info().evictions
        assert cache.info().store.errors == 0
        assert len(behind.stores[1]) == asked["key"].nunique()
    tiers = [
        measured_tier("memory", memory),
        measured_tier("disk", disk, overhead=overhead),
        measured_tier("redis"),
    ]
    served = served_from(asked, tiers)
    assert served.place.tolist() == real
    assert served.evictions[0] == evictions
    assert set(real) == {0, 1, 2, 3}
    table = simulate_tiers(asked, tiers).set_index("place")
    assert table["lookups"].tolist() == [real.count(place) for place in range(4)]
    for place, tier in enumerate(tiers):
        sizes = asked["nbytes"][np.array(real) == place]
        assert table.loc[tier.name, "seconds"] == pytest.approx(sum(map(tier.load_s, sizes)))


def test_seconds_are_those_of_loading_and_of_encoding() -> None:
    trace = workload("loop", size=4, rounds=3)
    size, second = int(trace["nbytes"].iloc[0]), float(trace["seconds"].iloc[0])
    table = simulate_tiers(trace, [Tier("memory", 2 * size), Tier("disk", fixed_s=0.5, bytes_per_s=size)])
    rows = table.set_index("place")
    assert rows["lookups"].to_dict() == {"memory": 0, "disk": 8, "encode": 4}
    assert rows.loc["disk", "seconds"] == pytest.approx(8 * 1.5)
    assert rows.loc["encode", "seconds"] == pytest.approx(4 * second)
    assert rows["evictions"].to_dict() == {"memory": 10, "disk": 0, "encode": 0}
    assert table.attrs["tiers"][1].startswith("Tier(name='disk'")


def test_prefetching_a_swept_document_finds_every_page_in_memory() -> None:
    trace = workload("document", pages=10, questions=3, order="question")
    size = int(trace["nbytes"].iloc[0])
    tiers = [Tier("memory", 3 * size), Tier("disk", fixed_s=0.1)]
    without = simulate_tiers(trace, tiers).set_index("place")
    ahead = simulate_tiers(trace, tiers, prefetch=1).set_index("place")
    assert without.loc["memory", "lookups"] == 0
    assert ahead.loc["memory", "lookups"] == 18  # all but the first sweep, and each sweep's first page
    assert ahead.loc["prefetch", "seconds"] == pytest.approx(1.8)


def test_a_warm_cache_misses_nothing_and_the_work_is_still_told() -> None:
    trace = workload("album")
    warm = trace["key"].unique().tolist()
    table = simulate_tiers(trace, [Tier("memory")], warm=[*warm, "never asked for"]).set_index("place")
    assert table.loc["encode", "lookups"] == 0
    assert table.loc["warm", "lookups"] == len(warm)
    assert table.loc["warm", "seconds"] == pytest.approx(trace.drop_duplicates("key")["seconds"].sum())


def slow_prefixes(asked: pd.DataFrame, capacity: int, own: int | None, bytes_per_token: int) -> list[str]:
    """Where look-ups are served from beside prefixes, step by step, one request a turn of one session."""
    budget: list[tuple[object, int]] = []
    other = budget if own is None else []
    rooms = {id(budget): capacity, id(other): capacity if own is None else own}

    def use(where: list[tuple[object, int]], key: object) -> bool:
        entry = next((e for e in where if e[0] == key), None)
        if entry is not None:
            where.remove(entry)
            where.append(entry)
        return entry is not None

    def put(where: list[tuple[object, int]], key: object, size: int) -> None:
        if size <= rooms[id(where)] and not use(where, key):
            while sum(e[1] for e in where) + size > rooms[id(where)]:
                where.pop(0)
            where.append((key, size))

    served = []
    for _, request in asked.groupby(["session", "turn"], sort=False):
        prompt: tuple[str, ...] = ()
        known = True
        after = []
        for key, size, tokens in request[["key", "nbytes", "tokens"]].itertuples(index=False):
            prompt = (*prompt, key)
            known = known and use(other, prompt)
            if known:
                served.append("prefix")
                continue
            served.append("memory" if use(budget, key) else "encode")
            after += [(budget, key, size)] if served[-1] == "encode" else []
            after.append((other, prompt, int(tokens) * bytes_per_token))
        for where, what, size in after:
            put(where, what, size)
    return served


@pytest.mark.parametrize("own", [None, 0.5])
@pytest.mark.parametrize("name", ["branches", "album", "screenshots"])
def test_prefixes_beside_features_are_what_counting_anew_gives(name: str, own: float | None) -> None:
    trace = workload(name)
    asked = requests(trace)
    whole = int(asked.drop_duplicates("key")["nbytes"].sum())
    room = None if own is None else int(whole * own)
    capacity = whole // 2 if own is not None else whole
    served = served_from(asked, [Tier("memory", capacity)], prefixes=Prefixes(room, bytes_per_token=2048))
    told = np.array(["memory", "encode", "prefix"])[served.place].tolist()
    assert told == slow_prefixes(asked, capacity, room, 2048)
    assert {"prefix", "encode"} <= set(told)


def test_an_entry_a_tile_shares_out_bytes_tokens_and_seconds() -> None:
    trace = workload("catalogue", requests=100)
    tiles = by_tile(trace, 256)
    assert tiles["tokens"].max() <= 256
    assert len(tiles) > len(trace)
    for column in ("nbytes", "tokens", "seconds"):
        whole = tiles.groupby(tiles["key"].str.split("/").str[0])[column].sum()
        assert whole.to_numpy() == pytest.approx(trace.groupby("key")[column].sum().to_numpy())
    for other in (tiles, by_request(trace)):
        unbounded = simulate_tiers(other, [Tier("memory")]).set_index("place")
        assert unbounded.loc["encode", "lookups"] == other["key"].nunique()
    with pytest.raises(ValueError, match="tokens=0: at least 1"):
        by_tile(trace, 0)


def test_load_costs_are_those_of_the_benchmark() -> None:
    memory, disk, redis = (measured_tier(kind, "1 GiB", ttl=60.0) for kind in ("memory", "disk", "redis"))
    size = 6_400_000
    assert memory.load_s(size) < disk.load_s(size)
    assert memory.load_s(size) < redis.load_s(size) < 0.5
    assert (redis.name, redis.ttl, redis.bound) == ("redis", 60.0, 2**30)
    with pytest.raises(ValueError, match="kind='tape'; there are: 'memory', 'disk'"):
        measured_tier("tape")


def test_no_tier_and_a_bound_that_is_none_are_told() -> None:
    with pytest.raises(ValueError, match="at least one"):
        simulate_tiers(workload("loop"), [])
    with pytest.raises(ValueError, match="much"):
        simulate_tiers(workload("loop"), [Tier("memory", "much")])
