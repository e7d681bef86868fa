"""Stages: how often each part of the vision side ran, and for how many seconds."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STAGES = ("key", "decode", "preprocess", "tower")

MARKS = 1000
"""First tokens that are remembered."""


_NONE = object()


@dataclass(frozen=True)
class StageTotals:
    """Counts and seconds by stage, at one moment or between two."""

    counts: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)

    def since(self, earlier: StageTotals) -> StageTotals:
        """Return what has been added since `earlier`."""
        counts, seconds = self.counts.copy(), self.seconds.copy()
        counts.subtract(earlier.counts)
        seconds.subtract(earlier.seconds)
        return StageTotals(counts, seconds)


class Stages:
    """Counts and seconds of `key`, `decode`, `preprocess`, `tower` and `prefill`, from any thread.

    A stage that runs inside another one (a decode inside preprocessing) is taken off the outer
    one's seconds, so that the seconds add up.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._totals = StageTotals()
        self._first_tokens: deque[StageTotals] = deque(maxlen=MARKS)
        self._lock = threading.Lock()
        self._open = threading.local()

    @contextmanager
    def measure(self, stage: str, times: int = 1) -> Iterator[None]:
        """Count a run of a stage over so many images, and its seconds, even if it raises."""
        inner_before: float = getattr(self._open, "inner", 0.0)
        self._open.inner = 0.0
        start = self._clock()
        try:
            yield
        finally:
            elapsed = self._clock() - start
            with self._lock:
                self._totals.counts[stage] += times
                self._totals.seconds[stage] += elapsed - self._open.inner
            self._open.spent = self.spent_here() + elapsed - self._open.inner
            self._open.inner = inner_before + elapsed

    def spent_here(self) -> float:
        """Count the seconds that this thread has spent in any stage."""
        spent: float = getattr(self._open, "spent", 0.0)
        return spent

    def until_first_token(self, steps: Iterator[Any]) -> Iterator[Any]:
        """Hand generation's steps on; those before the first token are `prefill`, apart from other stages."""
        with self.measure("prefill"):
            first = next(steps, _NONE)
        with self._lock:
            self._first_tokens.append(StageTotals(self._totals.counts.copy(), self._totals.seconds.copy()))
        if first is not _NONE:
            yield first
            yield from steps

    def turns_since(self, earlier: StageTotals) -> list[StageTotals]:
        """List what was added by each turn since `earlier`; turns end at first tokens, and may overlap.

        What was added after the last one, by whatever generates nothing, is left out.
        """
        with self._lock:
            marks = [one for one in self._first_tokens if one.counts["prefill"] > earlier.counts["prefill"]]
        return [mark.since(before) for before, mark in pairwise([earlier, *marks])]

    def totals(self) -> StageTotals:
        """Return what has been counted until now."""
        with self._lock:
            return StageTotals(self._totals.counts.copy(), self._totals.seconds.copy())
