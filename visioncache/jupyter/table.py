"""Tables and lines: a cache, its counters and results as static HTML and as text.

Every string from outside is escaped here, and only here. Colours come from the page, so that the
HTML is legible wherever it ends up: JupyterLab, GitHub (which drops styles), a mail.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from visioncache.jupyter.snapshot import label_of, shape_of
from visioncache.sizes import format_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd

    from visioncache.cache import VisionFeatureCache
    from visioncache.records import CacheInfo, Counters, Delta, Entry
    from visioncache.study.benchmark.result import BenchResult
    from visioncache.vlm.chat import Turn

ROWS = 20
"""Entries that a static table lists; the others are counted."""

_CELL = "padding:2px 10px 2px 0;text-align:left;white-space:nowrap"
_NUMBER = "padding:2px 10px 2px 0;text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums"
_COLUMNS = ("image", "bytes", "shape", "dtype", "hits", "idle", "cost", "pinned")
_RIGHT = {"bytes", "hits", "idle", "cost"}


def facts_html(title: str, facts: Iterable[tuple[str, str]], note: str = "") -> str:
    """One line of `value name` pairs after a bold title."""
    parts = "".join(
        f' &middot; <span style="white-space:nowrap"><b>{escape(value)}</b> {escape(name)}</span>'
        for value, name in facts
    )
    tail = f"<br>{escape(note)}" if note else ""
    return f'<div style="line-height:1.6"><b>{escape(title)}</b>{parts}{tail}</div>'


def table_html(header: Sequence[str], rows: Iterable[Sequence[str]], caption: str, right: set[str]) -> str:
    """A table of text; the columns named in `right` hold numbers."""

    def line(cells: Sequence[str], tag: str) -> str:
        return "".join(
            f'<{tag} style="{_NUMBER if name in right else _CELL}">{escape(cell)}</{tag}>'
            for name, cell in zip(header, cells, strict=True)
        )

    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    return (
        f'<table style="border-collapse:collapse;margin:4px 0;font:inherit"><caption style="text-align:left;'
        f'caption-side:top">{escape(caption)}</caption>'
        f"<thead><tr>{line(header, 'th')}</tr></thead><tbody>{body}</tbody></table>"
    )


def cache_html(cache: VisionFeatureCache, note: str = "") -> str:
    """A cache: its counters, a note, and a table of the entries used last, the latest first."""
    counters = info_html(cache.info(), "VisionFeatureCache", note)
    shown, hidden = _latest(cache)
    if not shown:
        return counters
    caption = "Entries, most recently used first" + (f" ({hidden} older ones not shown)" if hidden else "")
    rows = [_cells(entry, cache.now()) for entry in shown]
    return counters + table_html(_COLUMNS, rows, caption, _RIGHT)


def cache_text(cache: VisionFeatureCache) -> str:
    """A cache as lines of text: what `cache_html` shows."""
    shown, hidden = _latest(cache)
    rows = [_COLUMNS, *(_cells(entry, cache.now()) for entry in shown)] if shown else []
    widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))] if rows else []
    lines = [str(cache.info())]
    for row in rows:
        cells = [
            cell.rjust(width) if name in _RIGHT else cell.ljust(width)
            for name, cell, width in zip(_COLUMNS, row, widths, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    if hidden:
        lines.append(f"... and {hidden} older ones")
    return "\n".join(lines)


def info_html(info: CacheInfo, title: str = "CacheInfo", note: str = "") -> str:
    """A cache's counters, on one line, and a note below them."""
    entries = f"{info.size:,}" + ("" if info.max_size is None else f" of {info.max_size:,}")
    held = format_size(info.nbytes) + ("" if info.max_bytes is None else f" of {format_size(info.max_bytes)}")
    facts = [
        (entries, "entries"),
        (held, "held"),
        *_lookups(info),
        (f"{info.hit_rate:.0%}", "hit rate"),
        (f"{info.evictions:,}", "evicted"),
        (format_seconds(info.seconds_saved), "saved"),
    ]
    if info.rejects:
        facts.append((f"{info.rejects:,}", "rejected"))
    return facts_html(title, facts, note)


def delta_facts(delta: Counters) -> list[tuple[str, str]]:
    """What happened, as `value, name` pairs."""
    facts = [
        *_lookups(delta),
        (f"{delta.hit_rate:.0%}" if delta.hits or delta.store_hits or delta.misses else "no", "hit rate"),
        (format_seconds(delta.seconds_saved), "saved"),
        (format_size(delta.bytes_added), "added"),
        (format_size(delta.bytes_evicted), "evicted"),
    ]
    if delta.rejects:
        facts.append((f"{delta.rejects:,}", "rejected"))
    return facts


def delta_html(delta: Delta) -> str:
    """What happened while one watched, on one line."""
    return facts_html("Delta", [*delta_facts(delta), (format_seconds(delta.elapsed), "elapsed")])


def turn_html(turn: Turn) -> str:
    """A turn of a chat: question, answer, and a line of what it took."""
    counted = [*_lookups(turn), (format_size(turn.nbytes), "held")]
    facts = [
        (format_seconds(turn.ttft), "to the first token"),
        _count(turn.images, "image", "images"),
        *(counted if turn.encodes is not None else []),
        *((format_seconds(spent), stage) for stage, spent in turn.seconds.items() if spent >= _SHOWN_S),
    ]
    said = f"<div><i>{escape(turn.question)}</i></div><div>{escape(turn.text)}</div>"
    return said + facts_html(f"Turn {turn.index}", facts)


def bench_html(result: BenchResult) -> str:
    """A benchmark: a row a session and arm, medians over trials."""
    chip = str(result.machine.get("chip", ""))
    agree = "every arm gave the same tokens" if result.tokens_equal else "THE ARMS' TOKENS DIFFER"
    caption = " \N{MIDDLE DOT} ".join(filter(None, [result.model, chip, agree]))
    frame = result.summary()
    numbers = {name for name in frame.columns if name not in ("session", "arm", "tokens_equal")}
    rows = [[_plain(name, value) for name, value in row.items()] for row in frame.to_dict("records")]
    return table_html([str(name) for name in frame.columns], rows, caption, {str(name) for name in numbers})


def entries_frame(cache: VisionFeatureCache, entries: Iterable[Entry] | None = None) -> pd.DataFrame:
    """What a cache holds, or some of it, a row an entry; all of it is from least to most recently used.

    Columns: label, key (of the image, whatever model it was encoded by), nbytes, shape, dtype, hits,
    idle_s, age_s, cost_s (seconds), pinned.
    """
    import pandas as pd

    now = cache.now()
    rows = [
        (
            *(label_of(entry), entry.key.unscoped.text, entry.nbytes, entry.shape, entry.dtype, entry.hits),
            *(now - entry.last_used, now - entry.created, entry.seconds, entry.pinned),
        )
        for entry in (cache.entries() if entries is None else entries)
    ]
    names = ["label", "key", "nbytes", "shape", "dtype", "hits", "idle_s", "age_s", "cost_s", "pinned"]
    return pd.DataFrame(rows, columns=names)


def format_seconds(seconds: float) -> str:
    """Seconds as people read them: `0.0123` is `12 ms`, `75.0` is `1 min 15 s`."""
    if seconds < 0.9995:  # noqa: PLR2004  # below what rounds to a second
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:  # noqa: PLR2004
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:  # noqa: PLR2004
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


_SHOWN_S = 0.0005
"""A stage that took less is not worth a mention."""


def _latest(cache: VisionFeatureCache) -> tuple[list[Entry], int]:
    """The entries used last, the latest first, and how many more there are."""
    keys = cache.keys()
    found = [cache.entry(key) for key in reversed(keys[-ROWS:])]
    return [entry for entry in found if entry is not None], max(0, len(keys) - ROWS)


def _cells(entry: Entry, now: float) -> tuple[str, ...]:
    return (
        label_of(entry),
        format_size(entry.nbytes),
        shape_of(entry),
        entry.dtype,
        f"{entry.hits:,}",
        format_seconds(now - entry.last_used),
        format_seconds(entry.seconds),
        "pinned" if entry.pinned else "",
    )


def _lookups(counts: Counters | CacheInfo | Turn) -> list[tuple[str, str]]:
    """Hits, misses, and what the store answered when it did."""
    stored = [(f"{counts.store_hits:,}", "from the store")] if counts.store_hits else []
    return [_count(counts.hits, "hit", "hits"), *stored, _count(counts.misses, "miss", "misses")]


def _count(number: int, one: str, many: str) -> tuple[str, str]:
    return f"{number:,}", one if number == 1 else many


def _plain(name: object, value: Any) -> str:
    if str(name).endswith("bytes"):
        return format_size(value)
    if str(name).endswith("_s"):
        return format_seconds(value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)
