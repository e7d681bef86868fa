"""The plots, each beside a small committed picture; `UPDATE_PLOTS=1 pytest ...` redraws those."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import mlx.core as mx
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image
from published import plot_results, published_results
from scenes import Clock, features, filled

from visioncache import VisionFeatureCache, plots
from visioncache.plots.cache import _bytes_over_time
from visioncache.plots.latency import STAGES
from visioncache.plots.style import ARMS
from visioncache.study import miss_ratio_curve, plot_gains, plot_miss_ratio, plot_replays, replay, workload
from visioncache.study.sim.studied import LARGE, SMALL, comparable, studied

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PICTURES = Path(__file__).parent / "pictures"
DPI = 45
PAGES = {"light": (255, 255, 255), "dark": (17, 17, 17)}
TOLERANCE = 6.0
"""Root mean square of the difference, of 255: fonts are hinted differently from machine to machine."""


@pytest.fixture
def cache() -> VisionFeatureCache:
    """A cache after a session with hits, misses and evictions, by a clock of its own."""
    clock = Clock()
    worked = VisionFeatureCache(max_size=6, max_bytes="100 KiB", clock=clock)
    rng = np.random.default_rng(0)
    for image in rng.geometric(0.22, 80):
        clock.now += 0.7
        worked.get_or_compute(f"photos/photo-{image}.jpg", lambda n=image: features(4 + 3 * int(n)))
    worked.pin("photos/photo-1.jpg")
    return worked


@pytest.fixture
def results() -> pd.DataFrame:
    """Turns as a bench measures them: four arms, two trials, five turns."""
    rows = []
    for arm, base, growth in [
        ("none", 0.5, 0.4),
        ("mlx-vlm", 0.55, 0.45),
        ("visioncache", 0.45, 0.04),
        ("bound", 0.1, 0.03),
    ]:
        for trial in range(2):
            for turn in range(1, 6):
                tower = base * 0.5 + growth * (turn - 1) * 0.6
                parts = {
                    "key_s": 0.01,
                    "decode_s": 0.05,
                    "preprocess_s": 0.1 * turn,
                    "tower_s": tower,
                    "prefill_s": 0.1,
                }
                rows.append(
                    {
                        "session": "album",
                        "arm": arm,
                        "trial": trial,
                        "turn": turn,
                        "ttft_s": base + growth * turn + trial / 50,
                        **parts,
                    }
                )
    return pd.DataFrame(rows)


def drawn(ax: Axes, page: tuple[int, int, int] = PAGES["light"]) -> Image.Image:
    """A plot as a person sees it on a page of that colour, small."""
    png = io.BytesIO()
    ax.get_figure(root=True).savefig(png, format="png", dpi=DPI)
    picture = Image.open(png).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, (*page, 255)), picture).convert("RGB")


def check(name: str, ax: Axes) -> None:
    """Compare a plot with its committed picture."""
    picture, path = drawn(ax), PICTURES / f"{name}.png"
    if os.environ.get("UPDATE_PLOTS"):
        PICTURES.mkdir(exist_ok=True)
        picture.quantize(64).save(path, optimize=True)
    expected = Image.open(path).convert("RGB")
    assert picture.size == expected.size
    difference = np.asarray(picture, float) - np.asarray(expected, float)
    assert np.sqrt((difference**2).mean()) < TOLERANCE


def test_ttft_by_turn(results: pd.DataFrame) -> None:
    check("ttft", plots.ttft(results))


def test_stages_stacked(results: pd.DataFrame) -> None:
    check("stages", plots.stages(results))


def test_memory_with_evictions(cache: VisionFeatureCache) -> None:
    check("memory", plots.memory(cache, device=False))


def test_hit_rate_over_time(cache: VisionFeatureCache) -> None:
    check("hit_rate", plots.hit_rate(cache, window=20))


def test_reuse_distance(cache: VisionFeatureCache) -> None:
    check("reuse_distance", plots.reuse_distance(cache))


def test_bytes_by_entry(cache: VisionFeatureCache) -> None:
    check("entry_bytes", plots.entry_bytes(cache))


def draw_all(cache: VisionFeatureCache, results: pd.DataFrame, ax: Axes | None = None) -> list[Axes]:
    """Every plot."""
    of_cache = [plots.memory, plots.hit_rate, plots.reuse_distance, plots.entry_bytes]
    return [plots.ttft(results, ax), plots.stages(results, ax), *(plot(cache, ax) for plot in of_cache)]


def test_they_draw_on_the_axes_that_they_are_given(cache: VisionFeatureCache, results: pd.DataFrame) -> None:
    ax = Figure().add_subplot()
    ax.set_title("mine")
    assert all(drawn_on is ax for drawn_on in draw_all(cache, results, ax))
    assert ax.get_title() == "mine"


def test_they_touch_nothing_global(cache: VisionFeatureCache, results: pd.DataFrame) -> None:
    before = dict(mpl.rcParams)
    draw_all(cache, results)
    assert dict(mpl.rcParams) == before
    code = "import visioncache.plots.cache, visioncache.plots.latency, sys; print('matplotlib.pyplot' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


def luminance(colour: Any) -> float:
    """The relative luminance of a colour (WCAG 2)."""
    rgb = np.array(mpl.colors.to_rgb(colour))
    return float(
        np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]
    )


def contrast(one: Any, other: Any) -> float:
    """The contrast of two colours (WCAG 2)."""
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("page", PAGES.values(), ids=list(PAGES))
def test_they_are_legible_in_light_and_in_dark(
    cache: VisionFeatureCache, results: pd.DataFrame, page: tuple[int, int, int]
) -> None:
    ground = tuple(channel / 255 for channel in page)
    for ax in draw_all(cache, results):
        assert ax.get_figure(root=True).get_facecolor()[3] == 0
        texts = [ax.xaxis.label, ax.yaxis.label, ax._left_title, *ax.get_xticklabels(), *ax.get_yticklabels()]
        legend = ax.get_legend()
        texts += legend.get_texts() if legend else []
        assert all(contrast(text.get_color(), ground) > 4 for text in texts if text.get_text())
        assert all(contrast(line.get_color(), ground) > 3 for line in ax.get_lines())


def test_arms_and_stages_differ_by_more_than_colour() -> None:
    assert len({marker for _, marker in ARMS.values()}) == len(ARMS)
    assert len({hatch for _, hatch in STAGES.values()}) == len(STAGES)


def test_reuse_distance_counts_other_images() -> None:
    for asked, counted in {"abcab": [0, 0, 2], "aaba": [1, 1], "abbca": [1, 0, 1], "": []}.items():
        cache = filled()
        for name in asked:
            cache.get(name)
        assert [bar.get_height() for bar in plots.reuse_distance(cache).patches] == counted


def test_the_last_look_ups_have_a_line_only_where_there_were_more() -> None:
    cache = filled("a")
    for _ in range(3):
        cache.get("a")
    assert [line.get_label() for line in plots.hit_rate(cache, window=3).lines] == ["all"]
    assert len(plots.hit_rate(cache, window=2).lines) == 2


def test_pictures_of_published_results_and_of_curves_show_themselves() -> None:
    results = published_results()
    curve = miss_ratio_curve(workload("loop", seed=1), "bytes")
    for picture in (plot_results(results), plot_miss_ratio({"LRU": curve})):
        assert picture._repr_png_().startswith(b"\x89PNG")


def test_memory_ends_with_what_is_held(cache: VisionFeatureCache) -> None:
    times, held, evicted = _bytes_over_time(cache)
    assert held[-1] == cache.nbytes
    assert max(held) <= cache.max_bytes
    marked = {times[i] for i in evicted}
    assert marked == {event.time - cache.events[0].time for event in cache.events if event.kind == "evict"}
    clock = Clock()
    short = VisionFeatureCache(log=3, clock=clock)
    for name in "abcdef":
        clock.now += 1
        short.put(name, features())
    assert _bytes_over_time(short)[1] == [4096, 5120, 6144]


def test_an_empty_cache_has_plots_that_say_so() -> None:
    for plot, words in [
        (plots.memory, "nothing was stored yet"),
        (plots.hit_rate, "no look-ups yet"),
        (plots.reuse_distance, "no look-ups yet"),
        (plots.entry_bytes, "nothing is held yet"),
    ]:
        ax = plot(VisionFeatureCache())
        drawn(ax)
        assert [text.get_text() for text in ax.texts] == [words]
    asked = filled("a")
    asked.get("a")
    assert [text.get_text() for text in plots.reuse_distance(asked).texts] == [
        "nothing was asked for twice yet"
    ]


def test_one_look_up_draws_a_point_and_axes_begin_at_zero() -> None:
    cache = filled("a")
    cache.get("a")
    ax = plots.hit_rate(cache)
    assert [line.get_marker() for line in ax.lines] == ["o"]
    assert plots.memory(cache).lines[0].get_marker() == "o"
    for drawn_on in (ax, plots.memory(cache), plots.entry_bytes(cache)):
        assert drawn_on.get_xlim()[0] <= 0.05 * drawn_on.get_xlim()[1]
    assert ax.get_xlim()[0] == 0


def test_of_thousands_the_tail_dwarfs_nothing() -> None:
    cache = filled(*map(str, range(3000)), max_size=None)
    bars = [bar.get_width() for bar in plots.entry_bytes(cache).patches]
    assert max(bars) == bars[0] == bars[-1] == 1024
    assert plots.entry_bytes(cache).get_yticklabels()[-1].get_text() == "2,980 others, each"
    for name in map(str, range(3000)):
        cache.get(name)
        cache.get("0")
    for name in map(str, range(3000)):
        cache.get(name)
    assert len(plots.reuse_distance(cache).patches) <= 80


def test_device_memory_stands_beside_the_caches() -> None:
    cache = filled("a")
    near = mx.zeros((256,))
    mx.eval(near)
    far = mx.zeros((2**20,))
    assert any("MLX uses" in line.get_label() for line in plots.memory(cache).lines)
    assert not any("MLX uses" in line.get_label() for line in plots.memory(list(cache.events)).lines)
    mx.eval(far)
    ax = plots.memory(cache)
    assert any("off the scale" in line.get_label() for line in ax.lines)
    assert ax.get_ylim()[1] < 2**20


def test_named_runs_lie_over_one_another() -> None:
    ax = plots.runs({"a": [0.5, 0.2, 0.1], "b": [0.6, 0.5]})
    assert [line.get_label() for line in ax.lines] == ["a", "b"]
    assert len({line.get_marker() for line in ax.lines}) == 2
    drawn(ax)
    with pytest.raises(ValueError, match="no turn of a chat was taken in a"):
        plots.runs({"a": []})


def test_a_label_is_never_mathematics() -> None:
    drawn(plots.entry_bytes(filled("$x_$.png", "a" * 200, "$")))


def test_a_frame_of_something_else_is_refused() -> None:
    with pytest.raises(ValueError, match="no column session, arm"):
        plots.ttft(pd.DataFrame({"turn": [1]}))


def test_a_plot_shows_itself_in_a_notebook(cache: VisionFeatureCache) -> None:
    assert plots.memory(cache)._repr_png_().startswith(b"\x89PNG")


def test_replays_side_by_side_share_a_legend_and_say_which_traces_they_are_of() -> None:
    loop, album = (replay(workload(name), "lru") for name in ("loop", "album"))
    picture = plot_replays({"a loop": loop, "an album": album})
    panels = picture.get_axes()
    assert [ax.get_title() for ax in panels] == ["a loop", "an album"]
    assert [ax.get_legend() is not None for ax in panels] == [False, True]
    assert [[line.get_label() for line in ax.lines] for ax in panels] == [
        ["lru", "offline bound: no policy\ndoes better", "infinite cache"]
    ] * 2
    with Image.open(io.BytesIO(picture._repr_png_())) as image:
        told = json.loads(image.info["Description"])
    assert {title: one["trace"] for title, one in told.items()} == {
        "a loop": loop.attrs["trace"],
        "an album": album.attrs["trace"],
    }


def test_gains_are_drawn_by_workload_and_half_of_the_capacities() -> None:
    picture = plot_gains(studied("gains"), "s3-fifo")
    small, large = picture.get_axes()
    assert (small.get_title(), large.get_title()) == (f"cache of {SMALL}", f"cache of {LARGE}")
    rows = [text.get_text() for text in small.get_yticklabels()]
    able = comparable(studied("gains")).query("policy == 's3-fifo' and workload == 'loop'")
    bars, mark = large.lines[2 * rows.index("loop")], large.lines[2 * rows.index("loop") + 1]
    seeds = able[able["capacity"] == LARGE].groupby("seed")["gain"].mean()
    assert sorted(bars.get_xdata()) == pytest.approx(sorted(seeds))
    assert mark.get_xdata() == pytest.approx([seeds.mean()])


def test_miss_ratios_by_entries_and_by_bytes_are_not_drawn_on_one_axis() -> None:
    trace = workload("album")
    curves = {by: miss_ratio_curve(trace, by) for by in ("entries", "bytes")}
    with pytest.raises(ValueError, match="by entries, others by bytes"):
        plot_miss_ratio(curves)
    assert "entries" in plot_miss_ratio({"entries": curves["entries"]}).get_xlabel()
