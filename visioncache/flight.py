"""Single flight: however many threads ask for one thing at once, one of them fetches it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, TypeVar

from visioncache.recent import Recent

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

LATELY = 256
"""Calls that are remembered after they came to a value."""


class _Flight:
    """One call under way: who leads it, and what it came to."""

    def __init__(self) -> None:
        self.leader = threading.get_ident()
        self.landed = threading.Event()
        self.value: Any = None
        self.error: Exception | None = None
        self.abandoned = True
        """Until it lands with a value; an interrupt may strike anywhere."""


class Flights:
    """The calls under way, by name."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flights: dict[str, _Flight] = {}
        self._waiting: dict[int, _Flight] = {}  # thread -> the flight that it waits for
        self._landed: Recent[str, bool] = Recent(LATELY)

    def run(self, name: str, call: Callable[[], T]) -> tuple[T, bool]:
        """The call's result, and whether this thread made the call.

        An Exception goes to every thread that waits. When the leader is interrupted (^C), the next
        one that waits leads. Raises RuntimeError for a wait that could never end.
        """
        while True:
            mine, theirs = _Flight(), None
            try:
                theirs = self._join(name, mine)
                if theirs is None:
                    value = call()
                    mine.value, mine.abandoned = value, False
                    return value, True
                theirs.landed.wait()
                if theirs.error is not None:
                    raise theirs.error  # to whoever waited, as to the leader
                if not theirs.abandoned:
                    return theirs.value, False
            except Exception as error:
                mine.error = error
                raise
            finally:
                try:
                    self._leave(name, mine)
                except KeyboardInterrupt:  # which may strike as it begins
                    self._leave(name, mine)
                    raise
                del mine, theirs  # the error's traceback holds this frame, and they the error

    def landed(self, name: str) -> bool:
        """Tell whether a call of this name came to a value lately."""
        return name in self._landed

    def _join(self, name: str, mine: _Flight) -> _Flight | None:
        """Take off as `mine`, or find the flight to wait for."""
        with self._lock:
            flight = self._flights.setdefault(name, mine)
            if flight is mine:
                return None
            self._refuse_cycle(flight, name)
            self._waiting[mine.leader] = flight
            return flight

    def _leave(self, name: str, mine: _Flight) -> None:
        """Land `mine` if it flew, and wait no longer."""
        with self._lock:
            self._waiting.pop(mine.leader, None)
            if self._flights.get(name) is mine:
                del self._flights[name]
                if not mine.abandoned:
                    self._landed[name] = True
            mine.landed.set()

    def _refuse_cycle(self, flight: _Flight | None, name: str) -> None:
        """Follow who waits for whom from a flight: reaching this thread means waiting for ever."""
        while flight is not None and not flight.landed.is_set():  # whoever waited for it is free
            if flight.leader == threading.get_ident():
                raise RuntimeError(f"computing {name!r} asks for {name!r} again: it would wait for itself")
            flight = self._waiting.get(flight.leader)
