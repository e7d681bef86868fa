"""LRU: slots from least to most recently used, bounded in entries and bytes, some pinned."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from visioncache.limits import within

if TYPE_CHECKING:
    from collections.abc import Mapping

    from visioncache.costs import Rate
    from visioncache.keys import Key


class Slot:
    """A held value and what is known of it."""

    __slots__ = (
        "about",
        "created",
        "hits",
        "key",
        "label",
        "last_used",
        "meta",
        "nbytes",
        "pinned",
        "rate",
        "seconds",
        "tokens",
        "turn",
        "value",
    )

    def __init__(self, key: Key) -> None:
        self.key = key
        self.value: Any = None
        self.nbytes = 0
        self.label = ""
        self.meta: Mapping[str, Any] | None = None
        self.about: Mapping[str, Any] = {}
        """Facts that its events carry."""
        self.seconds = self.created = self.last_used = 0.0
        self.hits = self.tokens = 0
        self.rate: Rate | None = None
        self.pinned = False
        self.turn = 0
        """When it was last used, as a serial number."""

    @property
    def saved(self) -> float:
        """Seconds that a hit saves: those that encoding it would take now."""
        return self.seconds if self.rate is None else self.rate.estimate(self.seconds, self.tokens)


class LRU:
    """Who is held, in which order, and who goes next; no locks, clocks or events.

    Slots are found by their key's text. Pinned slots keep their place in the order but are never
    victims, so they stand outside the queue that victims are taken from; one that is unpinned waits
    in a heap, at its old turn, until it is used again.
    """

    def __init__(self, max_size: int | None, max_bytes: int | None) -> None:
        self.max_size = max_size
        self.max_bytes = max_bytes
        self.slots: dict[str, Slot] = {}
        self.nbytes = 0
        self.pinned = 0
        self.pinned_bytes = 0
        self._queue: OrderedDict[str, Slot] = OrderedDict()
        self._released: list[tuple[int, str]] = []
        self._turn = 0

    def touch(self, slot: Slot, now: float) -> None:
        """Make a slot the most recently used."""
        text = slot.key.text
        self._turn += 1
        slot.turn, slot.last_used = self._turn, now
        if text in self._queue:
            self._queue.move_to_end(text)
        elif not slot.pinned:
            self._queue[text] = slot

    def by_recency(self) -> list[Slot]:
        """Every slot, from least to most recently used."""
        return sorted(self.slots.values(), key=attrgetter("turn"))

    def fits(self, nbytes: int, slot: Slot | None) -> bool:
        """Tell whether a new value fits once others have gone, or fits in `slot` as things are."""
        if slot is not None:
            return within(self.nbytes - slot.nbytes + nbytes, self.max_bytes)
        return within(self.pinned + 1, self.max_size) and within(self.pinned_bytes + nbytes, self.max_bytes)

    def hold(self, slot: Slot | None, key: Key, nbytes: int, now: float) -> tuple[Slot, list[Slot]]:
        """Give a value that fits its slot, or a new one, now the latest used; list who made room."""
        victims = self.make_room(1, nbytes) if slot is None else []
        slot = self.slots.setdefault(key.text, slot or Slot(key))
        self.nbytes += nbytes - slot.nbytes
        self.pinned_bytes += nbytes - slot.nbytes if slot.pinned else 0
        slot.nbytes = nbytes
        self.touch(slot, now)
        return slot, victims

    def remove(self, slot: Slot) -> None:
        """Take a slot out."""
        self._lift_pin(slot)
        self.nbytes -= slot.nbytes
        del self.slots[slot.key.text]
        self._queue.pop(slot.key.text, None)

    def clear(self) -> dict[str, Slot]:
        """Take every slot out and return them, so that the caller says when they are freed."""
        held = self.slots
        self.slots, self._queue, self._released = {}, OrderedDict(), []
        self.nbytes = self.pinned = self.pinned_bytes = 0
        return held

    def pin(self, slot: Slot) -> None:
        """Keep a slot from being a victim."""
        if not slot.pinned:
            slot.pinned = True
            self.pinned += 1
            self.pinned_bytes += slot.nbytes
            self._queue.pop(slot.key.text, None)

    def unpin(self, slot: Slot) -> None:
        """Let a slot be a victim again, at the recency that it has."""
        if slot.pinned:
            self._lift_pin(slot)
            heapq.heappush(self._released, (slot.turn, slot.key.text))
            if len(self._released) > 2 * len(self.slots) + 16:  # mostly stale: keep who still waits
                self._released = [item for item in set(self._released) if self._waits(*item)]
                heapq.heapify(self._released)

    def make_room(self, entries: int = 0, nbytes: int = 0) -> list[Slot]:
        """Take out the least recently used, oldest first, until so much more fits."""
        victims = []
        while not (
            within(len(self.slots) + entries, self.max_size) and within(self.nbytes + nbytes, self.max_bytes)
        ):
            victims.append(self._victim())
            self.remove(victims[-1])
        return victims

    def release(self, nbytes: int) -> list[Slot]:
        """Take out the least recently used, oldest first, until so many bytes went or none is left."""
        victims: list[Slot] = []
        while nbytes > 0 and len(self.slots) > self.pinned:
            victims.append(self._victim())
            self.remove(victims[-1])
            nbytes -= victims[-1].nbytes
        return victims

    def _victim(self) -> Slot:
        """The least recently used slot that is not pinned."""
        first = next(iter(self._queue.values()), None)
        while self._released:
            turn, text = self._released[0]
            if self._waits(turn, text):
                return self.slots[text] if first is None or turn < first.turn else first
            heapq.heappop(self._released)
        if first is None:
            raise LookupError("nothing can be evicted")
        return first

    def _waits(self, turn: int, text: str) -> bool:
        """Tell whether a released slot was neither used, pinned nor removed since."""
        slot = self.slots.get(text)
        return slot is not None and slot.turn == turn and not slot.pinned

    def _lift_pin(self, slot: Slot) -> None:
        if slot.pinned:
            slot.pinned = False
            self.pinned -= 1
            self.pinned_bytes -= slot.nbytes
