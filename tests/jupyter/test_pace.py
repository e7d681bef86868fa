"""Pace: how often a live view may act."""

from __future__ import annotations

import threading
from itertools import pairwise
from typing import TYPE_CHECKING

from scenes import Clock

from visioncache.jupyter.pace import GATHER, REST, Pace

if TYPE_CHECKING:
    from collections.abc import Callable

INTERVAL = 0.1


class Timers:
    """Timers that go off when a test lets the clock pass."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.pending: list[tuple[float, FakeTimer]] = []

    def __call__(self, delay: float, run: Callable[[], None]) -> FakeTimer:
        return FakeTimer(self, self.clock.now + delay, run)

    def advance(self, seconds: float) -> None:
        """Let so much time pass, timers going off on the way."""
        end = self.clock.now + seconds
        while self.pending and min(self.pending, key=lambda p: p[0])[0] <= end:
            due = min(self.pending, key=lambda p: p[0])
            self.pending.remove(due)
            self.clock.now = max(self.clock.now, due[0])
            due[1].run()
        self.clock.now = end


class FakeTimer:
    """Stand in for `threading.Timer`, on a clock of our own."""

    daemon = False

    def __init__(self, timers: Timers, at: float, run: Callable[[], None]) -> None:
        self.timers, self.at, self.run = timers, at, run

    def start(self) -> None:
        self.timers.pending.append((self.at, self))

    def cancel(self) -> None:
        self.timers.pending = [p for p in self.timers.pending if p[1] is not self]


def paced(act: Callable[[], object], clock: Clock | None = None) -> tuple[Pace, Timers]:
    """A pace on a clock of our own."""
    clock = clock or Clock()
    timers = Timers(clock)
    return Pace(act, INTERVAL, clock=clock, effort=clock, timer=timers), timers


def test_many_nudges_are_one_act() -> None:
    acts: list[int] = []
    pace, timers = paced(lambda: acts.append(1))
    for _ in range(1000):
        pace.nudge()
    assert len(timers.pending) == 1
    timers.advance(GATHER)
    assert acts == [1]


def test_there_are_at_most_ten_acts_a_second() -> None:
    clock = Clock()
    acts: list[float] = []
    pace, timers = paced(lambda: acts.append(clock.now), clock)
    for _ in range(5000):
        pace.nudge()
        timers.advance(0.001)
    gaps = [later - earlier for earlier, later in pairwise(acts)]
    assert min(gaps) >= INTERVAL - 1e-9
    assert 45 <= len(acts) <= 51


def test_a_nudge_during_an_act_leads_to_another_act() -> None:
    acts: list[int] = []

    def act() -> None:
        acts.append(1)
        if len(acts) == 1:
            pace.nudge()

    pace, timers = paced(act)
    pace.nudge()
    timers.advance(1)
    assert acts == [1, 1]


def test_a_slow_act_is_followed_by_rest() -> None:
    clock = Clock()
    acts: list[float] = []

    def act() -> None:
        acts.append(clock.now)
        clock.now += 0.5

    pace, timers = paced(act, clock)
    for _ in range(100):
        pace.nudge()
        timers.advance(0.1)
    gaps = [later - earlier for earlier, later in pairwise(acts)]
    assert min(gaps) >= 0.5 * (1 + REST) - 1e-9


def test_an_act_that_only_waited_for_others_is_followed_by_no_rest() -> None:
    clock, effort = Clock(), Clock()
    acts: list[float] = []

    def act() -> None:
        acts.append(clock.now)
        clock.now += 0.5  # the machine was busy elsewhere

    timers = Timers(clock)
    pace = Pace(act, INTERVAL, clock=clock, effort=effort, timer=timers)
    for _ in range(100):
        pace.nudge()
        timers.advance(0.1)
    assert max(later - earlier for earlier, later in pairwise(acts)) <= 0.5 + 2 * INTERVAL + 1e-9


def test_a_nudge_during_a_slow_act_waits_for_its_rest_too() -> None:
    clock = Clock()
    acts: list[float] = []

    def act() -> None:
        acts.append(clock.now)
        pace.nudge()
        clock.now += 0.5

    pace, timers = paced(act, clock)
    pace.nudge()
    timers.advance(12)
    gaps = [later - earlier for earlier, later in pairwise(acts)]
    assert len(gaps) > 1
    assert min(gaps) >= 0.5 * (1 + REST) - 1e-9


def test_nothing_happens_after_close() -> None:
    acts: list[int] = []
    pace, timers = paced(lambda: acts.append(1))
    pace.nudge()
    pace.close()
    pace.nudge()
    timers.advance(5)
    assert acts == []
    assert timers.pending == []


def test_an_act_may_close_its_own_pace() -> None:
    pace, timers = paced(lambda: pace.close())  # noqa: PLW0108  # it does not exist yet
    pace.nudge()
    timers.advance(1)
    assert pace.closed


def test_close_waits_for_a_running_act() -> None:
    inside, go_on, ended = threading.Event(), threading.Event(), []

    def act() -> None:
        inside.set()
        go_on.wait(10)
        ended.append(1)

    pace = Pace(act, INTERVAL)
    pace.nudge()
    assert inside.wait(10)
    closer = threading.Thread(target=pace.close)
    closer.start()
    assert not ended
    go_on.set()
    closer.join(10)
    assert ended == [1]


def test_between_bursts_there_is_no_thread() -> None:
    done = threading.Event()
    started: list[threading.Timer] = []

    def timer(delay: float, run: Callable[[], None]) -> threading.Timer:
        started.append(threading.Timer(delay, run))
        return started[-1]

    pace = Pace(done.set, INTERVAL, timer=timer)
    pace.nudge()
    assert done.wait(10)
    started[0].join(10)
    assert [thread.is_alive() for thread in started] == [False]
