"""Verification: a table that says whether the cache changes anything, and a JSON for an issue report."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from visioncache.display import counted, facts_html, format_seconds, table_html, table_text
from visioncache.vlm.verify.compare import Difference, Verdict, is_near_tie, said

if TYPE_CHECKING:
    from visioncache.vlm.speedups.report import Speedups

FORMAT = 1
_RANK = list(Verdict)
_HEADINGS = {"miss": "first look", "hit": "from the cache", "held": "from what was held"}


@dataclass(frozen=True)
class Row:
    """One request: each way of answering it beside the one without a cache."""

    request: str
    images: int
    verdicts: dict[str, Verdict]
    """By way: `miss`, `hit`, and `held` where the attached cache or its store had an image of it."""
    apart: dict[str, Difference]
    errors: dict[str, str]
    work: dict[str, int]
    """How often the hit decoded, preprocessed and encoded an image."""
    ttft: dict[str, float]
    """Seconds until the first token: `plain`, `miss`, `hit`."""

    @property
    def verdict(self) -> Verdict:
        """The worst of its ways."""
        return max(self.verdicts.values(), key=_RANK.index)

    def said(self, way: str) -> str:
        """Say in a few words how a way compares."""
        verdict = self.verdicts.get(way)
        return "-" if verdict is None else said(verdict, self.apart[way])

    @property
    def differing(self) -> list[Difference]:
        """Collect how far those ways lie apart that give something else."""
        return [self.apart[way] for way, one in self.verdicts.items() if one is Verdict.DIFFERENT]

    @property
    def worked(self) -> str:
        """Name the work that the hit did and should have saved."""
        done = [f"{count} {stage}" for stage, count in self.work.items() if count]
        return ", ".join(done) or "none"


@dataclass(frozen=True, repr=False)
class Verification:
    """Report what `Attached.verify` found; `str` is the table, `status` the command's exit status."""

    family: str
    machine: dict[str, Any]
    rows: tuple[Row, ...]
    noise: Difference
    """The largest difference between two runs without a cache."""
    skipped: tuple[tuple[str, str], ...] = ()
    """Requests that the model refuses without a cache too, with what it says."""
    speedups: Speedups | tuple[()] = field(default=())
    damaged: int = 0
    """Entries of the attached cache or its store that are damaged; each is encoded anew."""
    uncached: str = ""
    """Why nothing is cached, where a part of the model or the processor can't be followed."""
    stored: bool = False
    """Tell whether the attached cache holds anything, or has a store."""
    prefixes: bool = False
    """Tell whether prefixes are kept, which are not compared."""
    seconds: float = 0.0

    @property
    def verdict(self) -> Verdict:
        """The worst of its rows."""
        return max((row.verdict for row in self.rows), key=_RANK.index)

    @property
    def reused(self) -> bool:
        """Tell whether no hit decoded, preprocessed or encoded anything."""
        return not self.uncached and all(row.worked == "none" for row in self.rows)

    @property
    def status(self) -> int:
        """0 where nothing changes (but for last bits), hits do no work and nothing is damaged, else 1."""
        good = self.verdict in (Verdict.IDENTICAL, Verdict.LAST_BITS)
        return 0 if good and self.reused and not self.damaged else 1

    def __bool__(self) -> bool:
        return self.status == 0

    @property
    def summary(self) -> str:
        """The whole in one sentence."""
        if self.verdict in (Verdict.DIFFERENT, Verdict.REFUSED):
            bad = [row for row in self.rows if row.verdict is self.verdict]
            return f"{self.verdict}: {self._what(bad)}: {', '.join(row.request for row in bad)}"
        if self.damaged:
            entries = " ".join(counted(self.damaged, "held entry is", "held entries are"))
            return f"the answers are the same, but {entries} damaged, and encoded anew"
        if self.uncached:
            return f"the answers are the same, but nothing is cached: {self.uncached}"
        if not self.reused:
            return "the answers are the same, but hits decode, preprocess or encode images again"
        if self.verdict is Verdict.LAST_BITS:
            tokens = "tokens change as they do without a cache" if self.noise.tokens else "the same tokens"
            return f"{tokens}; last bits differ, as images are encoded one by one"
        return "identical: the cache changes nothing"

    def _what(self, bad: list[Row]) -> str:
        """Say what is wrong with rows."""
        if self.verdict is Verdict.REFUSED:
            return "with the cache this model raises an error"
        ways = {way for row in bad for way, verdict in row.verdicts.items() if verdict is Verdict.DIFFERENT}
        if ways == {"held"}:
            return "what was held is not what this model encodes now, and clear() drops it"
        if all(row.images > 1 and all(map(is_near_tie, row.differing)) for row in bad):
            return "last bits, which move as images are encoded one by one, decide for another token"
        return "the cache changes what this model is given or answers"

    def records(self) -> list[dict[str, Any]]:
        """The table, a dict a row."""
        held = any("held" in row.verdicts for row in self.rows)
        ways = [way for way in _HEADINGS if way != "held" or held]
        return [
            {
                "request": row.request,
                **{_HEADINGS[way]: row.said(way) for way in ways},
                "work of a hit": row.worked,
                "TTFT without (ms)": _milliseconds(row.ttft.get("plain")),
                "first look (ms)": _milliseconds(row.ttft.get("miss")),
                "hit (ms)": _milliseconds(row.ttft.get("hit")),
            }
            for row in self.rows
        ]

    def notes(self) -> list[str]:
        """List the sentences below the table."""
        lines = [
            "twice without a cache: "
            + (f"the model itself moves by {self._noise}" if self.noise else "every bit is the same")
        ]
        if any(apart.logits for row in self.rows for apart in row.apart.values()):
            lines.append("deviation: the standard deviation of the first token's logits")
        lines += dict.fromkeys(error for row in self.rows for error in row.errors.values())
        lines += [
            f"{name}: not asked, as the model refuses it without a cache too" for name, _ in self.skipped
        ]
        if self.stored and not any("held" in row.verdicts for row in self.rows):
            lines.append("nothing is held of these images for this model, as it is loaded here")
        if self.prefixes:
            lines.append("prefixes are not compared: the answers here are those without them")
        for state in ("on", "off"):
            named = [
                f"{one.name} ({one.reason})" if one.reason else one.name
                for one in self.speedups
                if one.on == (state == "on")
            ]
            lines += [f"speedups {state}: {', '.join(named)}"] if named else []
        return lines

    @property
    def _noise(self) -> str:
        tokens = ", and its tokens change" if self.noise.tokens else ""
        return f"{self.noise.logits:.2g} of its logits' deviation{tokens}; that is not the cache's"

    @property
    def _head(self) -> str:
        told = self.machine
        return (
            f"{self.family} on {told['chip']} ({told['backend']}), {told['system']}; mlx {told['mlx']}, "
            f"mlx-vlm {told['mlx_vlm']}, visioncache {told['visioncache']}"
        )

    @property
    def _columns(self) -> tuple[list[str], list[list[str]], set[str]]:
        """The table's header, its rows, and the columns that hold numbers."""
        records = self.records()
        header = list(records[0])
        rows = [[str(record[name]) for name in header] for record in records]
        return header, rows, {name for name in header if "(ms)" in name}

    def __str__(self) -> str:
        table = table_text(*self._columns)
        said = f"{self.summary} ({self.seconds:.0f} s)"
        return "\n".join([self._head, "", table, "", *self.notes(), "", said])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        header, rows, numbers = self._columns
        facts = [counted(len(rows), "request", "requests"), (format_seconds(self.seconds), "")]
        said = facts_html(self.summary, facts, "; ".join(self.notes()))
        return said + table_html(header, rows, self._head, numbers)

    def to_json(self) -> str:
        """Everything, as an issue report can attach it: no file names, no pictures, no text."""
        rows = [
            {
                **asdict(row),
                "verdict": row.verdict,
                "apart": {way: _plain(apart) for way, apart in row.apart.items()},
            }
            for row in self.rows
        ]
        whole = {
            "format": FORMAT,
            "family": self.family,
            "machine": self.machine,
            "verdict": self.verdict,
            "status": self.status,
            "summary": self.summary,
            "noise": _plain(self.noise),
            "rows": rows,
            "skipped": [{"request": name, "says": says} for name, says in self.skipped],
            "speedups": [asdict(one) for one in self.speedups],
            "damaged": self.damaged,
            "uncached": self.uncached,
            "prefixes": self.prefixes,
            "seconds": self.seconds,
        }
        return json.dumps(whole, indent=1)


def _plain(apart: Difference) -> dict[str, Any]:
    """A difference as JSON, which has no infinity."""
    fields = asdict(apart).items()
    return {name: None if isinstance(v, float) and math.isinf(v) else v for name, v in fields}


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:,.0f}"
