"""CellDelta: what a cell did to a cache, image by image, and the time and memory that it took."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Self

from visioncache.display import counted, facts_html, format_seconds, table_html
from visioncache.records import Delta
from visioncache.sizes import format_size

if TYPE_CHECKING:
    from visioncache.cache import VisionFeatureCache
    from visioncache.display import Fact
    from visioncache.events import Event
    from visioncache.vlm.turn import Turn

ROWS = 50
"""Images and turns that an opened delta lists."""


@dataclass(slots=True)
class CellDelta(Delta):
    """Tell what happened in a cache while a cell ran."""

    peak_bytes: int | None = None
    """Of MLX's memory while the cell ran; None where MLX was not used."""
    bypassed: bool = False
    """True of a cell that ran with `--no-cache`."""
    encodes: int | None = None
    """Images that towers encoded; None where nothing is attached, or all was bypassed."""
    stages: dict[str, float] = field(default_factory=dict)
    """Seconds of the attached models' key, decode, preprocess, tower and prefill."""
    requests: list[dict[str, float]] = field(default_factory=list)
    """The same by request, each until its first token, whoever asked: `Chat` or mlx-vlm's own functions."""
    turns: list[Turn] = field(default_factory=list)
    """The turns that the notebook's chats took meanwhile."""
    events: list[Event] = field(default_factory=list)
    before: list[Event] = field(default_factory=list)
    """Events of the cache until then, as far as they are kept."""

    @classmethod
    def of(cls, delta: Delta, **known: Any) -> Self:
        """A delta, with what else is known of the cell."""
        return cls(**{item.name: getattr(delta, item.name) for item in fields(Delta)}, **known)

    @classmethod
    def whole_life(cls, cache: VisionFeatureCache) -> Delta:
        """Everything that happened in a cache that was created in the cell."""
        info, delta = cache.info(), Delta()
        delta.hits, delta.misses, delta.puts = info.hits, info.misses, info.puts
        delta.store_hits = info.store_hits
        delta.evictions, delta.rejects = info.evictions, info.rejects
        delta.seconds_saved, delta.nbytes = info.seconds_saved, info.nbytes
        for event in cache.events:
            delta.bytes_added += event.nbytes if event.kind in ("put", "store-hit") else 0
            delta.bytes_evicted += event.nbytes if event.kind == "evict" else 0
        return delta

    @property
    def ttft(self) -> float | None:
        """Seconds to the first token, summed over the turns; None where there was none."""
        return sum(turn.ttft for turn in self.turns) if self.turns else None

    def facts(self) -> list[Fact]:
        """The line, as `(value, name)` pairs: the same with the cache and without."""
        facts = [*Delta.facts(self), (format_seconds(self.elapsed), "elapsed")]
        if self.ttft is not None:
            facts.append((format_seconds(self.ttft), "to first tokens"))
        if self.encodes is not None:
            facts.append(counted(self.encodes, "encode", "encodes"))
        if self.peak_bytes is not None:
            facts.append((format_size(self.peak_bytes), "peak"))
        return facts

    def images(self) -> list[tuple[str, str, str, str, str]]:
        """A row an image that was looked up or dropped: turn, what happened, its name, its bytes, why."""
        return [
            (str(event.tags.get("turn", "")), what, self._name(event), size, why)
            for place, event in enumerate(self.events)
            if (what := _WHAT.get(event.kind))
            for size, why in [(format_size(event.nbytes) if event.nbytes else "", self._why(place, event))]
        ]

    def timeline(self) -> list[tuple[str, ...]]:
        """A row a turn: its number and the seconds of each stage.

        A chat's turn has the number that it has there, and its prefill holds what is in no other stage. Where
        requests were made without a chat that is known, all are numbered from 1.
        """
        turns = [(turn.index, turn.seconds) for turn in self.turns if turn.seconds]
        if len(turns) < len(self.requests):
            turns = list(enumerate(self.requests, 1))
        return [
            (str(number), *(format_seconds(seconds.get(stage, 0.0)) for stage in STAGES))
            for number, seconds in turns
        ]

    def __str__(self) -> str:
        line = ", ".join(f"{value} {name}" for value, name in self.facts())
        return f"{self._title}: {line}"

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        printer.text(str(self))

    def _repr_html_(self) -> str:
        line, inside = facts_html(self._title, self.facts()), ""
        turns, images = self.timeline(), self.images()
        if turns:
            inside += table_html(
                ("turn", *STAGES), turns[:ROWS], "Where the time to the first token went", STAGES
            )
        if images:
            more = f" ({len(images) - ROWS} more)" if len(images) > ROWS else ""
            untold = 0 if any(turn for turn, *_ in images) else 1  # no chat has numbered its turns
            inside += table_html(
                IMAGES[untold:], [row[untold:] for row in images[:ROWS]], f"Image by image{more}", ("bytes",)
            )
        if not inside:
            return line
        summary = line.replace("<div", "<span").replace("</div", "</span")
        return f"<details><summary>{summary}</summary>{inside}</details>"

    @property
    def _title(self) -> str:
        return "vcache bypassed" if self.bypassed else "vcache"

    def _name(self, event: Event) -> str:
        """The name of an event's image; a miss learns it from the put that follows."""
        if event.label or event.key is None:
            return event.name
        named = (e.label for e in [*self.events, *self.before] if e.key == event.key and e.label)
        return next(named, event.name)

    def _why(self, place: int, event: Event) -> str:
        """Say what led to an event."""
        if event.kind == "evict":
            pushed = (self._name(e) for e in self.events[place:] if e.kind in ("put", "store-hit"))
            return f"to make room for {next(pushed, 'what came')}"
        if event.kind == "reject":
            return "it is larger than what can be freed"
        if event.kind == "miss":
            earlier = [e for e in [*self.before, *self.events[:place]] if e.key == event.key]
            dropped = next(
                (e for e in reversed(earlier) if e.kind in ("evict", "pop", "reject", "put")), None
            )
            if dropped is None:
                return "first look"
            return {
                "evict": "it had been evicted",
                "pop": "it had been removed",
                "reject": "it was too large",
            }.get(dropped.kind, "the cache was cleared")
        return ""


IMAGES = ("turn", "what", "image", "bytes", "why")
STAGES = ("key", "decode", "preprocess", "tower", "prefill")
_WHAT = {
    "hit": "hit",
    "store-hit": "from the store",
    "miss": "missed",
    "evict": "evicted",
    "reject": "refused",
    "pop": "removed",
}


def reset_peak() -> None:
    """Start MLX's peak of memory from what is in use now, if MLX is there."""
    mx = sys.modules.get("mlx.core")
    if mx is not None:
        mx.reset_peak_memory()


def peak_bytes() -> int | None:
    """MLX's peak of memory since then; None if MLX is not there."""
    mx = sys.modules.get("mlx.core")
    return None if mx is None else int(mx.get_peak_memory())
