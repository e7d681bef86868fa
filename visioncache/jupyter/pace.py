"""Pace: many nudges, few acts. What follows a cache live follows it at a pace that costs little."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

GATHER = 0.02
"""Seconds between a first nudge and its act, so that what happens together is told together."""

REST = 9
"""An act is followed by this many times its processor time of rest: a tenth of one core."""

EARLY = 0.001
"""Seconds that a timer may go off too soon without being set anew."""


class Pace:
    """Calls `act` soon after a `nudge`, off the caller's thread, with `interval` seconds between.

    Nudges may come from any thread and are as good as free. Between bursts no thread exists. After
    `close` has returned, `act` is not running and never runs again.
    """

    def __init__(
        self,
        act: Callable[[], object],
        interval: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        effort: Callable[[], float] = time.thread_time,
        timer: Callable[[float, Callable[[], None]], Any] = threading.Timer,
    ) -> None:
        self._act = act
        self._interval = interval
        self._clock = clock
        self._effort = effort
        self._timer = timer
        self._lock = threading.Lock()
        self._acting = threading.RLock()  # re-entrant: an act may close its own pace
        self._due: Any = None
        self._earliest = clock()
        self._closed = False

    @property
    def closed(self) -> bool:
        """Tell whether `close` was called."""
        return self._closed

    def nudge(self) -> None:
        """Ask for an act; while one is due already, that one will do."""
        if self._due is not None or self._closed:
            return
        with self._lock:
            if self._due is not None or self._closed:
                return
            self._schedule(max(GATHER, self._earliest - self._clock()))

    def close(self) -> None:
        """Stop for good, once a running act has ended."""
        with self._lock:
            self._closed = True
            due, self._due = self._due, None
        if due is not None:
            due.cancel()
        with self._acting:
            pass

    def _run(self) -> None:
        with self._acting:
            with self._lock:
                self._due = None  # before the act: a nudge during it is about what it may not see
                if self._closed:
                    return
                wait = self._earliest - self._clock()
                if wait > EARLY:  # it was scheduled during an act that turned out to be slow
                    self._schedule(wait)
                    return
                self._earliest = self._clock() + self._interval
            start = self._effort()
            self._act()
            self._earliest = self._clock() + max(self._interval, REST * (self._effort() - start))

    def _schedule(self, delay: float) -> None:
        self._due = self._timer(delay, self._run)
        self._due.daemon = True
        self._due.start()
