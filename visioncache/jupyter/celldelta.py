"""CellDelta: what a cell did to a cache, and the memory that it needed at its peak."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

from visioncache.display import facts_html, format_seconds
from visioncache.records import Delta
from visioncache.sizes import format_size

if TYPE_CHECKING:
    from visioncache.cache import VisionFeatureCache
    from visioncache.display import Fact


@dataclass(slots=True)
class CellDelta(Delta):
    """What happened in a cache while a cell ran."""

    peak_bytes: int | None = None
    """Of MLX's memory while the cell ran; None where MLX was not used."""
    bypassed: bool = False
    """Whether the cell ran with `--no-cache`."""

    @classmethod
    def of(cls, delta: Delta, peak_bytes: int | None, *, bypassed: bool) -> Self:
        """A delta, with what else is known of the cell."""
        return cls(**asdict(delta), peak_bytes=peak_bytes, bypassed=bypassed)

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

    def facts(self) -> list[Fact]:
        """The line, as `(value, name)` pairs."""
        facts = [(format_seconds(self.elapsed), "elapsed")] if self.bypassed else Delta.facts(self)
        if self.peak_bytes is not None:
            facts.append((format_size(self.peak_bytes), "peak"))
        return facts

    def __str__(self) -> str:
        line = ", ".join(f"{value} {name}" for value, name in self.facts())
        return f"{self._title}: {line}"

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        printer.text(str(self))

    def _repr_html_(self) -> str:
        return facts_html(self._title, self.facts())

    @property
    def _title(self) -> str:
        return "vcache bypassed" if self.bypassed else "vcache"


def reset_peak() -> None:
    """Start MLX's peak of memory from what is in use now, if MLX is there."""
    mx = sys.modules.get("mlx.core")
    if mx is not None:
        mx.reset_peak_memory()


def peak_bytes() -> int | None:
    """MLX's peak of memory since then; None if MLX is not there."""
    mx = sys.modules.get("mlx.core")
    return None if mx is None else int(mx.get_peak_memory())
