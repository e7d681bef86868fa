"""The cache against a plain model of it: a list in order of use, searched from its front."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from visioncache import Key, VisionFeatureCache

NAMES = st.sampled_from("abcdefgh")
SIZES = st.integers(0, 12)
ENTRIES = st.one_of(st.none(), st.integers(1, 6))
BYTES = st.one_of(st.none(), st.integers(1, 30))


@dataclass
class Held:
    """One entry of the model."""

    name: str
    value: Any
    pinned: bool = False
    hits: int = 0


class AgainstModel(RuleBasedStateMachine):
    """Every operation on both; everything that can be seen is the same."""

    @initialize(max_size=ENTRIES, max_bytes=BYTES)
    def start(self, max_size: int | None, max_bytes: int | None) -> None:
        self.now = 0.0
        self.cache = VisionFeatureCache(max_size, max_bytes, clock=self.clock)
        self.max_size, self.max_bytes = max_size, max_bytes
        self.held: list[Held] = []
        self.hits = self.misses = self.puts = self.evictions = self.rejects = 0

    def clock(self) -> float:
        self.now += 1
        return self.now

    def find(self, name: str) -> Held | None:
        return next((entry for entry in self.held if entry.name == name), None)

    def too_much(self, entries: int, size: int, max_size: int | None, max_bytes: int | None) -> bool:
        return (max_size is not None and entries > max_size) or (max_bytes is not None and size > max_bytes)

    def make_room(self, entries: int, size: int) -> None:
        while self.too_much(len(self.held) + entries, self.bytes() + size, self.max_size, self.max_bytes):
            self.held.remove(next(entry for entry in self.held if not entry.pinned))
            self.evictions += 1

    def bytes(self, *, pinned: bool = False) -> int:
        return sum(entry.value.nbytes for entry in self.held if entry.pinned or not pinned)

    @rule(name=NAMES)
    def get(self, name: str) -> None:
        entry = self.find(name)
        assert self.cache.get(name) is (None if entry is None else entry.value)
        if entry is None:
            self.misses += 1
        else:
            self.hits += 1
            entry.hits += 1
            self.held.remove(entry)
            self.held.append(entry)

    @rule(name=NAMES, size=SIZES)
    def put(self, name: str, size: int) -> None:
        value = np.zeros(size, np.uint8)
        entry = self.find(name)
        if entry is not None:
            stored = not self.too_much(0, self.bytes() - entry.value.nbytes + size, None, self.max_bytes)
        else:
            pinned = sum(held.pinned for held in self.held)
            stored = not self.too_much(
                pinned + 1, self.bytes(pinned=True) + size, self.max_size, self.max_bytes
            )
        assert self.cache.put(name, value) is stored
        if not stored:
            self.rejects += 1
            return
        self.puts += 1
        if entry is None:
            self.make_room(1, size)
            entry = Held(name, value)
        else:
            self.held.remove(entry)
            entry.value = value
        self.held.append(entry)

    @rule(name=NAMES)
    def peek_and_ask(self, name: str) -> None:
        entry = self.find(name)
        assert self.cache.peek(name) is (None if entry is None else entry.value)
        assert (name in self.cache) == (entry is not None)

    @rule(name=NAMES)
    def pop(self, name: str) -> None:
        entry = self.find(name)
        assert self.cache.pop(name) is (None if entry is None else entry.value)
        if entry is not None:
            self.held.remove(entry)

    @rule(name=NAMES)
    def pin(self, name: str) -> None:
        entry = self.find(name)
        assert self.cache.pin(name) == (entry is not None)
        if entry is not None:
            entry.pinned = True

    @rule(name=NAMES)
    def unpin(self, name: str) -> None:
        entry = self.find(name)
        assert self.cache.unpin(name) == (entry is not None)
        if entry is not None:
            entry.pinned = False

    @rule(max_size=ENTRIES, max_bytes=BYTES)
    def resize(self, max_size: int | None, max_bytes: int | None) -> None:
        pinned = sum(entry.pinned for entry in self.held)
        possible = not self.too_much(pinned, self.bytes(pinned=True), max_size, max_bytes)
        try:
            self.cache.resize(max_size, max_bytes)
        except ValueError:
            assert not possible
            return
        assert possible
        self.max_size, self.max_bytes = max_size, max_bytes
        self.make_room(0, 0)

    @rule()
    def clear(self) -> None:
        self.cache.clear()
        self.held = []

    @invariant()
    def everything_that_can_be_seen_is_the_same(self) -> None:
        info, entries = self.cache.info(), self.cache.entries()
        assert self.cache.keys() == [Key.of(entry.name) for entry in self.held]
        seen = [(entry.key.text, entry.nbytes, entry.pinned, entry.hits) for entry in entries]
        assert seen == [(f"s:{e.name}", e.value.nbytes, e.pinned, e.hits) for e in self.held]
        assert (
            (info.size, info.nbytes) == (len(self.held), self.bytes()) == (len(self.cache), self.cache.nbytes)
        )
        assert (info.max_size, info.max_bytes) == (self.max_size, self.max_bytes)
        assert (info.hits, info.misses) == (self.hits, self.misses)
        assert (info.puts, info.evictions, info.rejects) == (self.puts, self.evictions, self.rejects)
        uses = [entry.last_used for entry in entries]
        assert uses == sorted(uses)
        counters = self.cache._lru.pinned, self.cache._lru.pinned_bytes
        assert counters == (sum(entry.pinned for entry in self.held), self.bytes(pinned=True))


TestAgainstModel = AgainstModel.TestCase
TestAgainstModel.settings = settings(max_examples=120, stateful_step_count=60, deadline=None)
