"""Single flight: however many threads ask for one thing at once, one of them fetches it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class _Flight:
    """One call under way: who leads it, and what it came to."""

    def __init__(self) -> None:
        self.leader = threading.get_ident()
        self.landed = threading.Event()
        self.value: Any = None
        self.error: Exception | None = None
        self.abandoned = False


class Flights:
    """The calls under way, by name."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flights: dict[str, _Flight] = {}
        self._waiting: dict[int, _Flight] = {}  # thread -> the flight that it waits for

    def run(self, name: str, call: Callable[[], T]) -> tuple[T, bool]:
        """The call's result, and whether this thread made the call.

        An Exception goes to every thread that waits. When the leader is interrupted (^C), the next
        one that waits leads. Raises RuntimeError for a wait that could never end.
        """
        while True:
            with self._lock:
                flight = self._flights.get(name)
                leads = flight is None
                if flight is None:
                    flight = self._flights[name] = _Flight()
                else:
                    self._refuse_cycle(flight, name)
                    self._waiting[threading.get_ident()] = flight
            if leads:
                return self._lead(name, flight, call), True
            try:
                flight.landed.wait()
            finally:
                with self._lock:
                    self._waiting.pop(threading.get_ident(), None)
            if flight.error is not None:
                raise flight.error
            if not flight.abandoned:
                return flight.value, False

    def _lead(self, name: str, flight: _Flight, call: Callable[[], T]) -> T:
        flight.abandoned = True  # until it lands; an interrupt may strike anywhere
        try:
            flight.value = call()
            flight.abandoned = False
        except Exception as error:
            flight.error = error
            raise
        else:
            return flight.value  # type: ignore[no-any-return]
        finally:
            with self._lock:
                del self._flights[name]
            flight.landed.set()

    def _refuse_cycle(self, flight: _Flight | None, name: str) -> None:
        """Follow who waits for whom from a flight: reaching this thread means waiting for ever."""
        while flight is not None:
            if flight.leader == threading.get_ident():
                raise RuntimeError(f"computing {name!r} asks for {name!r} again: it would wait for itself")
            flight = self._waiting.get(flight.leader)
