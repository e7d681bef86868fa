"""Journal: what happened in a cache, kept, tagged, and told to whoever subscribed."""

from __future__ import annotations

import threading
import warnings
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from itertools import count
from typing import TYPE_CHECKING, Any

from visioncache.events import NO_TAGS, Event, EventLog, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from visioncache.keys import Key

_tags: ContextVar[Mapping[int, Mapping[str, Any]] | None] = ContextVar("_tags", default=None)
"""Tags of the current thread or task, by the id of the journal whose `tag` block is open."""

_new_event = tuple.__new__  # an Event without the cost of NamedTuple's own __new__


class Journal:
    """The events of one cache: noted while its lock is held, told when it no longer is.

    Args:
        log: how many events are kept.
    """

    def __init__(self, log: int) -> None:
        self.events = EventLog(log)
        self.subscribers: dict[object, Callable[[Event], object]] = {}
        self._lock = threading.Lock()
        self._numbers = count(1)

    def note(
        self,
        now: float,
        kind: Kind,
        key: Key | None = None,
        label: str = "",
        size: int = 0,
        seconds: float = 0.0,
        about: Mapping[str, Any] = NO_TAGS,
    ) -> Event:
        """Number and keep an event, with what the image is known for and this thread's (or task's) tags."""
        tags = _tags.get()
        mine = tags.get(id(self), NO_TAGS) if tags else NO_TAGS
        if about:
            mine = {**about, **mine} if mine else about
        event = _new_event(Event, (now, kind, key, label, size, seconds, mine, next(self._numbers)))
        self.events.append(event)
        return event

    def tell(self, *events: Event) -> None:
        """Call every subscriber with every event; one that raises is told nothing more."""
        for token, subscriber in self.subscribers.items():
            for event in events:
                try:
                    subscriber(event)
                except Exception as error:  # noqa: BLE001  # a subscriber's fault is not the cache's
                    if self._remove(token):
                        with suppress(Warning):  # where warnings are errors, this is not the look-up's
                            warnings.warn(
                                f"a subscriber of a VisionFeatureCache raised {error!r} and was removed",
                                stacklevel=3,
                            )
                    break

    def subscribe(self, subscriber: Callable[[Event], object]) -> Callable[[], None]:
        """Tell `subscriber` of every event from now on; returns the unsubscribe."""
        if not callable(subscriber):
            raise TypeError(f"subscribe({subscriber!r}): a function of one event")
        token = object()
        with self._lock:
            self.subscribers = {**self.subscribers, token: subscriber}

        def unsubscribe() -> None:
            self._remove(token)

        return unsubscribe

    @property
    def tags(self) -> Mapping[str, Any]:
        """Return what events of this thread or task are marked with now."""
        return (_tags.get() or {}).get(id(self), NO_TAGS)

    @contextmanager
    def tag(self, tags: Mapping[str, Any]) -> Iterator[None]:
        """Mark the events of this thread or task while the block runs."""
        outer = _tags.get() or {}
        token = _tags.set({**outer, id(self): {**outer.get(id(self), NO_TAGS), **tags}})
        try:
            yield
        finally:
            _tags.reset(token)

    def _remove(self, token: object) -> bool:
        """Tell whether there was one to remove."""
        with self._lock:
            known = token in self.subscribers
            # Replaced, never changed: `tell` goes through it without the lock.
            self.subscribers = {k: s for k, s in self.subscribers.items() if k is not token}
        return known
