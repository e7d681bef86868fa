"""Runs: cells that were run under a name, or twice to be compared, as tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from visioncache.display import format_seconds, table_html, table_text
from visioncache.sizes import format_size

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from visioncache.jupyter.celldelta import CellDelta


@dataclass(frozen=True)
class Comparison:
    """One cell, run with the cache bypassed and then with it."""

    bypassed: CellDelta
    cached: CellDelta
    same: bool | None
    """True where both gave the same answers; None where the cell gave nothing to compare."""
    compared: str
    """Kind of output that was compared: tokens, values or printed text."""

    def rows(self) -> list[tuple[str, str, str]]:
        """A row a figure: its name, without the cache, with it."""
        pairs = [
            ("elapsed", *(format_seconds(run.elapsed) for run in self._both)),
            (
                "to first tokens",
                *("-" if run.ttft is None else format_seconds(run.ttft) for run in self._both),
            ),
            ("saved", *(format_seconds(run.seconds_saved) for run in self._both)),
            ("hits", *(f"{run.hits + run.store_hits:,}" for run in self._both)),
            ("misses", *(f"{run.misses:,}" for run in self._both)),
            ("encodes", *("-" if run.encodes is None else f"{run.encodes:,}" for run in self._both)),
            (
                "peak memory",
                *("-" if run.peak_bytes is None else format_size(run.peak_bytes) for run in self._both),
            ),
        ]
        return [(name, without, with_) for name, without, with_ in pairs]

    @property
    def _both(self) -> tuple[CellDelta, CellDelta]:
        return self.bypassed, self.cached

    @property
    def said(self) -> str:
        """How it was run, and if the answers agree."""
        verdict = {True: "the same", False: "NOT THE SAME", None: "nothing to compare"}[self.same]
        return f"bypassed first, then cached, once each; outputs ({self.compared}): {verdict}"

    def __str__(self) -> str:
        return f"vcache compared, {self.said}\n{table_text(_HEAD, self.rows(), _HEAD[1:])}"

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        printer.text(str(self))

    def _repr_html_(self) -> str:
        return table_html(_HEAD, self.rows(), f"vcache compared, {self.said}", _HEAD[1:])


_HEAD = ("", "bypassed", "cached")
_COLUMNS = (
    *("name", "bypassed", "turns", "elapsed_s", "ttft_s", "saved_s", "hits", "store_hits", "misses"),
    *("encodes", "evictions", "added_bytes", "peak_bytes"),
)


def runs_frame(runs: Mapping[str, CellDelta]) -> pd.DataFrame:
    """List named runs, a row a run, oldest first.

    Columns: name, bypassed, turns, elapsed_s, ttft_s (summed over turns), saved_s, hits, store_hits, misses,
    encodes, evictions, added_bytes, peak_bytes.
    """
    import pandas as pd

    rows = [
        {
            "name": name,
            "bypassed": run.bypassed,
            "turns": len(run.turns),
            "elapsed_s": run.elapsed,
            "ttft_s": run.ttft,
            "saved_s": run.seconds_saved,
            "hits": run.hits,
            "store_hits": run.store_hits,
            "misses": run.misses,
            "encodes": run.encodes,
            "evictions": run.evictions,
            "added_bytes": run.bytes_added,
            "peak_bytes": run.peak_bytes,
        }
        for name, run in runs.items()
    ]
    return pd.DataFrame(rows, columns=[*_COLUMNS])
