"""Static HTML and text: true, escaped, compact."""

from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser

import pandas as pd
import pytest
from scenes import Clock, features, filled

from visioncache import Delta, VisionFeatureCache, display
from visioncache.jupyter.frames import entries_frame
from visioncache.study.benchmark.result import BenchResult
from visioncache.vlm.turn import Turn

EVIL = "<img src=x onerror=alert(1)>\"'&"


class Reader(HTMLParser):
    """Read HTML as a browser does: its tags, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return "".join(self.texts)


def test_a_cache_is_a_table_of_its_latest_entries() -> None:
    cache = filled(*(f"p{i}.png" for i in range(25)), max_size=30, max_bytes="1 MiB")
    cache.get("p3.png")
    cache.pin("p24.png")
    read = Reader(cache._repr_html_())
    assert read.tags <= {
        "div",
        "b",
        "span",
        "figure",
        "figcaption",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
    }
    assert "25 of 30 entries (83% full)" in read.text
    assert "25 KiB of 1 MiB held" in read.text
    assert "5 older ones not shown" in read.text
    rows = [text for text in read.texts if text.endswith(".png")]
    assert rows[:2] == ["p3.png", "p24.png"]
    assert len(rows) == 20
    assert read.texts.count("pinned") == 2  # the column's head, and the entry


def test_the_text_says_what_the_table_says() -> None:
    clock = Clock()
    cache = VisionFeatureCache(clock=clock)
    cache.put("a.png", features(), label="a.png", seconds=1.5)
    clock.now += 75
    assert cache.to_text().replace("\N{MULTIPLICATION SIGN}", "x").splitlines() == [
        "1 of 20 entries, 1 KiB; 0 hits, 0 misses, 0% hit rate, 0 evicted, 0.00 s saved",
        "image  bytes  shape    dtype    hits        idle   cost  pinned",
        "a.png  1 KiB  1 x 256  float32     0  1 min 15 s  1.5 s",
    ]
    assert VisionFeatureCache().to_text().count("\n") == 0


def test_every_string_from_outside_is_text() -> None:
    turn = Turn(1, EVIL, EVIL, [1], 1, 10, 0.5, 1.0, {"tower": 0.25, "key": 0.0})
    frame = pd.DataFrame(
        [
            {
                "session": EVIL,
                "arm": "none",
                "trial": 0,
                "turn": 1,
                "ttft_s": 0.25,
                "hits": 1,
                "misses": 2,
                "encodes": 3,
                "held_bytes": 2048,
                "peak_bytes": 4096,
                "tokens_equal": True,
                "correct": 1.0,
            }
        ]
    )
    result = BenchResult(frame, {"chip": EVIL}, EVIL)
    for html in (filled(EVIL)._repr_html_(), turn._repr_html_(), result._repr_html_()):
        read = Reader(html)
        assert "img" not in read.tags
        assert EVIL in read.text
    assert "250 ms tower" in Reader(turn._repr_html_()).text
    assert "key" not in Reader(turn._repr_html_()).text
    assert "every arm gave the same tokens" in Reader(result._repr_html_()).text


def test_counters_and_deltas_are_one_line() -> None:
    cache = filled("a", max_size=1)
    with cache.watch() as delta:
        cache.get("a")
        cache.get("b")
        cache.put("b", features(3))
    assert (
        "1 hit · 1 miss · 50% hit rate · 250 ms saved · 3 KiB added · 1 KiB evicted"
        in Reader(delta._repr_html_()).text
    )
    assert "1 hit · 1 miss" in Reader(cache.info()._repr_html_()).text
    assert "no hit rate" in Reader(Delta()._repr_html_()).text


def test_entries_are_a_frame_with_the_latest_first() -> None:
    clock = Clock()
    cache = VisionFeatureCache(clock=clock)
    cache.put("a", features(2), label="a", seconds=0.5)
    clock.now += 10
    cache.put("b", features(), label="")
    frame = entries_frame(cache)
    assert list(frame["label"]) == ["s:b", "a"]
    assert list(frame["idle_s"]) == [0.0, 10.0]
    assert list(frame["nbytes"]) == [1024, 2048]
    assert list(entries_frame(VisionFeatureCache()).columns) == list(frame.columns)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 ms"),
        (0.0124, "12 ms"),
        (0.9996, "1.0 s"),
        (12.34, "12.3 s"),
        (75, "1 min 15 s"),
        (7260, "2 h 1 min"),
    ],
)
def test_seconds_read_well(seconds: float, text: str) -> None:
    assert display.format_seconds(seconds) == text


def test_a_caches_html_needs_no_widget_and_no_model() -> None:
    code = (
        "import sys, visioncache; visioncache.VisionFeatureCache()._repr_html_();"
        "print([m for m in ('anywidget', 'IPython', 'matplotlib', 'pandas', 'mlx') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
