"""Breaker: stop asking what does not answer, and try again now and then."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Breaker:
    """Decide whether to ask: always, until `failures` in a row; then once after every pause.

    The first pause takes `pause` seconds, each one after it twice as long, up to `longest`; a
    success ends them.
    """

    def __init__(
        self,
        failures: int = 3,
        pause: float = 1.0,
        longest: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._failures, self._first, self._longest = failures, pause, longest
        self._clock = clock
        self._lock = threading.Lock()
        self._count = 0
        self._pause = pause
        self._until: float | None = None

    @property
    def is_open(self) -> bool:
        """Tell whether asking is paused, or on trial after a pause."""
        return self._until is not None

    def remaining(self) -> float:
        """Seconds until the next question is let through; 0.0 when one would be now."""
        until = self._until
        return 0.0 if until is None else max(0.0, until - self._clock())

    def allows(self) -> bool:
        """Tell whether to ask now. After a pause it says so to one caller, who is to report back."""
        with self._lock:
            if self._until is None:
                return True
            now = self._clock()
            if now < self._until:
                return False
            self._until = now + self._pause
            return True

    def succeeded(self) -> None:
        """Report an answer."""
        with self._lock:
            self._count, self._pause, self._until = 0, self._first, None

    def failed(self) -> None:
        """Report that none came."""
        with self._lock:
            self._count += 1
            if self._count < self._failures:
                return
            if self._until is not None:
                self._pause = min(2 * self._pause, self._longest)
            self._until = self._clock() + self._pause
