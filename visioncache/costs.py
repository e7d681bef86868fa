"""Costs: the seconds that encoding a value would take now, learnt from what encodes took.

A model's first encode is slow: weights are read, kernels are compiled. A hit does not save that again.
So a hit is credited the median of its scope's encodes after the first, in seconds a token, times its own
tokens; until there is a second encode, or where tokens are not known, what the entry itself took.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from visioncache.about import kind_of, number_of
from visioncache.recent import Recent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from visioncache.keys import Key

KEPT = 65
"""Encodes that a scope's median is over, the latest ones."""
SCOPES = 256
"""Scopes that are remembered."""


class Rate:
    """Learn the rate of one scope's encodes: the median of their seconds a token, but for the first."""

    __slots__ = ("_latest", "_warm", "median")

    def __init__(self) -> None:
        self._latest: deque[float] = deque(maxlen=KEPT)
        self._warm = False
        self.median: float | None = None

    def learn(self, seconds: float, tokens: int) -> None:
        """Note what an encode took, unless it is the first."""
        if self._warm:
            self._latest.append(seconds / tokens)
            ordered = sorted(self._latest)
            middle = len(ordered) // 2
            self.median = (ordered[middle] + ordered[~middle]) / 2
        self._warm = True

    def estimate(self, seconds: float, tokens: int) -> float:
        """Estimate the seconds of an encode of so many tokens; `seconds` where no rate is known."""
        return seconds if self.median is None or not tokens else self.median * tokens


class Costs:
    """Learn the rates of a cache's scopes, one for each kind of entry."""

    def __init__(self) -> None:
        self._rates: Recent[tuple[str | None, str], Rate] = Recent(SCOPES)

    def rate(self, key: Key, meta: Mapping[str, Any] | None) -> Rate:
        """Return the rate that a value belongs to."""
        name = key.scope, kind_of(meta)
        found = self._rates.get(name)
        if found is None:
            self._rates[name] = found = Rate()
        return found

    def learn(self, key: Key, seconds: float, meta: Mapping[str, Any] | None) -> None:
        """Note what encoding a value took; nothing where no time or no tokens are known."""
        tokens = number_of(meta, "tokens")
        if seconds > 0 and tokens:
            self.rate(key, meta).learn(seconds, tokens)

    def estimate(self, key: Key, seconds: float, meta: Mapping[str, Any] | None) -> float:
        """Estimate the seconds to encode a value now; once it took `seconds`."""
        return self.rate(key, meta).estimate(seconds, number_of(meta, "tokens"))
