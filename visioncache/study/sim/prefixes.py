"""Prefixes: keys and values of prompts as entries, in the first tier's budget or in one of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from visioncache.study.sim.tier import Held, Tier

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Prefixes:
    """Cost of keys and values, and their budget."""

    max_bytes: int | str | None = None
    """A budget of their own in memory; None shares the first tier's with features, one recency for both."""
    bytes_per_token: int = 36_864
    """By default Qwen2.5-VL-3B's: 36 layers, keys and values, 2 heads of 128, 2 bytes."""
    seconds_per_token: float = 1.87e-5
    """Of prefill, as data/results/sessions has it (MLX on an H100)."""


class Prompts:
    """Which images of a request lie in a prefix that is known, entry for entry.

    A segment holds an image's tokens after all images before it in the request, so its key is all of
    them. Known are the segments from the first up to one that is missing; images in them are not looked up.
    """

    def __init__(
        self, prefixes: Prefixes, asked: pd.DataFrame, which: NDArray[np.int64], shared: Held
    ) -> None:
        self._prefixes = prefixes
        self._held = shared if prefixes.max_bytes is None else Held(Tier("prefixes", prefixes.max_bytes))
        self._which = which.tolist()
        self._image = asked["image"].tolist()
        self._tokens = asked["tokens"].fillna(0).astype(int).tolist()
        self._so_far: dict[int, tuple[int, ...]] = {}
        self._segment: dict[int, tuple[int, ...]] = {}
        """By look-up."""
        self._open: dict[int, bool] = {}
        """By request: whether all of its segments so far were known."""
        self._count = self._nbytes = 0

    @property
    def prefilled(self) -> tuple[int, int, float]:
        """Segments that had to be prefilled, their bytes, their seconds."""
        tokens = self._nbytes / self._prefixes.bytes_per_token
        return self._count, self._nbytes, tokens * self._prefixes.seconds_per_token

    def covers(self, at: int, now: float) -> bool:
        """Tell if a look-up's image lies in a known prefix, which then is refreshed."""
        request = self._which[at]
        segment = (*self._so_far.get(request, ()), self._image[at])
        self._so_far[request] = self._segment[at] = segment
        self._held.expire(now)
        known: bool = self._open.get(request, True) and self._held.touch(segment)
        self._open[request] = known
        return known

    def add(self, at: int, now: float) -> None:
        """Store the segment of a look-up that no prefix covered."""
        segment = self._segment.pop(at)
        size = self._tokens[at] * self._prefixes.bytes_per_token
        self._count += 1
        self._nbytes += size
        if not self._held.touch(segment) and self._held.fits(size):
            self._held.put(segment, size, now)
