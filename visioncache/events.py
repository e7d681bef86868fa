"""Events: what happens in a cache, and a bounded log of it."""

from __future__ import annotations

import json
import math
import os
from collections import deque
from itertools import count
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, overload

from blake3 import blake3

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd

    from visioncache.keys import Key

Kind = Literal["hit", "miss", "put", "evict", "reject", "pop", "clear", "resize", "store-hit", "store-error"]

KEYLESS: tuple[Kind, ...] = ("clear", "resize", "store-error")
"""Kinds that may concern the whole cache or its store, rather than one image."""

LOOKUPS: tuple[Kind, ...] = ("hit", "store-hit", "miss")
"""Kinds that a look-up ends in: memory has it, only the store has it, nobody has it."""

NO_TAGS: Mapping[str, Any] = {}

TRACE_VERSION = 1
"""Of the lines that `to_jsonl` writes; data/sessions/README.md documents them."""

STAGE_TAGS = ("decode_s", "preprocess_s", "tower_s")
"""Tags of a put that tell its seconds by stage, where whoever encodes gives them."""

_SECRET = os.urandom(32)
"""Keys the digests of this process's traces: images can be told apart, not looked for."""

_requests = count(1)


def new_request() -> int:
    """Number a request, for `cache.tag(request=new_request())`; unique in this process, from any thread."""
    return next(_requests)


class Event(NamedTuple):
    """One thing that happened; `key` is None for what concerns the whole cache."""

    time: float
    """Seconds, by the cache's clock."""
    kind: Kind
    key: Key | None = None
    label: str = ""
    nbytes: int = 0
    seconds: float = 0.0
    """Spent by a put; saved by a hit, which is credited what an encode would have cost by then."""
    tags: Mapping[str, Any] = NO_TAGS
    seq: int = 0
    """Number of the event in its cache, from 1, in the order in which the cache did it; 0 for none."""

    @property
    def name(self) -> str:
        """Its label, or else the text of its image's key; "" where it concerns no image."""
        return self.label or ("" if self.key is None else self.key.unscoped.text)

    def record(self) -> dict[str, Any]:
        """The event as a flat dictionary, its tags beside its fields (a field wins)."""
        fields = self._asdict()
        tags = fields.pop("tags")
        return {**tags, **fields, "key": None if self.key is None else self.key.text}

    def trace_line(self, secret: bytes | None = None) -> dict[str, Any]:
        """Give the event as a line of a trace: no label, no path, no content.

        Session, turn and request are the tags as they were given, names included; `anonymise` numbers them.

        Args:
            secret: 32 bytes that key the image's digest; by default this process's own, which nobody
                keeps. With one secret, traces of several processes agree on who is who.
        """
        tags, key = self.tags, self.key
        tokens = _plain(tags.get("tokens"))
        return {
            "v": TRACE_VERSION,
            "seq": self.seq,
            "time": self.time,
            "session": _name(tags.get("session")),
            "turn": _name(tags.get("turn")),
            "request": _name(tags.get("request")),
            "key": None if key is None else _digest(key.text, _SECRET if secret is None else secret),
            "bytes": self.nbytes,
            "tokens": tokens if _is_count(tokens) else None,
            "seconds": self.seconds,
            "outcome": self.kind,
            **{stage: float(tags[stage]) for stage in STAGE_TAGS if _is_count(tags.get(stage))},
        }


class EventLog:
    """The latest `maxlen` events, oldest first."""

    def __init__(self, maxlen: int) -> None:
        if isinstance(maxlen, bool) or not isinstance(maxlen, int) or maxlen < 0:
            raise ValueError(f"log={maxlen!r}: how many events are kept, 0 or more")
        self._events: deque[Event] = deque(maxlen=maxlen)
        self.append = self._events.append

    def __len__(self) -> int:
        return len(self._events)

    def __iter__(self) -> Iterator[Event]:
        return iter(self._events.copy())

    @overload
    def __getitem__(self, index: int) -> Event: ...
    @overload
    def __getitem__(self, index: slice) -> list[Event]: ...
    def __getitem__(self, index: int | slice) -> Event | list[Event]:
        return list(self)[index] if isinstance(index, slice) else self._events[index]

    def __repr__(self) -> str:
        return f"EventLog({len(self)} of at most {self.maxlen})"

    @property
    def maxlen(self) -> int:
        """How many events are kept."""
        return self._events.maxlen or 0

    def clear(self) -> None:
        """Forget every event."""
        self._events.clear()

    def to_frame(self) -> pd.DataFrame:
        """A row an event: time, kind, key, label, nbytes, seconds, seq, and a column for every tag.

        The bytes of a file name that aren't UTF-8 are written out, as `backslashreplace` does: pandas, CSV
        and Parquet hold nothing but Unicode.
        """
        import pandas as pd

        fields = [name for name in Event._fields if name != "tags"]
        rows = [{_unicode(name): _unicode(value) for name, value in event.record().items()} for event in self]
        tags = dict.fromkeys(name for row in rows for name in row if name not in fields)
        return pd.DataFrame(rows, columns=[*fields, *tags])

    def to_jsonl(self, path: str | os.PathLike[str], *, secret: bytes | None = None) -> int:
        """Write a trace, one event a line, oldest first; returns how many. `secret` as in `trace_line`."""
        events = list(self)
        with open(path, "w", encoding="utf-8") as file:  # noqa: PTH123  # takes every PathLike
            file.writelines(json.dumps(event.trace_line(secret)) + "\n" for event in events)
        return len(events)


def _unicode(value: Any) -> Any:
    """Text that any encoding of Unicode can hold; anything else as it is."""
    return value.encode("utf-8", "backslashreplace").decode() if type(value) is str else value


def _digest(text: str, secret: bytes) -> str:
    return blake3(text.encode("utf-8", "surrogatepass"), key=secret).hexdigest(16)


def _plain(tag: Any) -> Any:
    """A number of numpy's, or a scalar array, as Python's."""
    return tag.item() if getattr(tag, "shape", None) == () else tag


def _name(tag: Any) -> str | int | None:
    tag = _plain(tag)
    return tag if tag is None or type(tag) in {str, int} else str(tag)


def _is_count(number: Any) -> bool:
    return type(number) in {int, float} and 0 <= number < math.inf
