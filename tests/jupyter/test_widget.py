"""CacheView without a page: what it sends, when, and what it leaves behind."""

from __future__ import annotations

import base64
import gc
import io
import subprocess
import sys
import threading
import time
import weakref
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import build_widget
import ipywidgets
import numpy as np
import pytest
from PIL import Image
from scenes import features, filled

from visioncache import Key, VisionFeatureCache
from visioncache.jupyter import CacheView, widget
from visioncache.jupyter.advice import advised_html
from visioncache.jupyter.snapshot import WINDOW, History, Names, snapshot, window
from visioncache.study.sim.bounds import advise

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def closed_views() -> Any:
    """Close every view that a test made."""
    yield
    ipywidgets.Widget.close_all()


def sent(view: CacheView) -> list[dict[str, Any]]:
    """Every message that a view sends to pages from now on, collected as it goes."""
    messages: list[dict[str, Any]] = []
    view.comm.publish_msg = lambda kind, data=None, **_: messages.append(
        {"type": kind, "at": time.monotonic(), **(data or {})}
    )
    return messages


def hear(view: CacheView, **content: Any) -> None:
    """Send something as a page does."""
    view._handle_custom_msg(content, [])


def settle(view: CacheView, done: Any) -> None:
    """Wait until a view shows something; it is told by its own trait, so nothing is polled."""
    ready = threading.Event()

    def look(_change: Any = None) -> None:
        if done(view.view):
            ready.set()

    view.observe(look, "view")
    look()
    assert ready.wait(10), view.view
    view.unobserve(look, "view")


def labels(view: CacheView) -> list[str]:
    """The labels of the entries drawn, in order."""
    return [entry["label"] for entry in view.view["entries"]]


def test_it_shows_entries_from_least_to_most_recently_used() -> None:
    cache = filled("a", "b", "c", max_bytes="1MB")
    cache.get("a")
    view = CacheView(cache)
    assert labels(view) == ["b", "c", "a"]
    last = view.view["entries"][-1]
    assert (last["nbytes"], last["shape"], last["dtype"], last["hits"]) == (
        1024,
        "1 \N{MULTIPLICATION SIGN} 256",
        "float32",
        1,
    )
    assert view.view["max_bytes"] == 1_000_000


def test_it_refuses_what_is_not_a_cache() -> None:
    with pytest.raises(TypeError, match="got dict"):
        CacheView({})


def test_it_takes_what_attach_returned() -> None:
    class Attached:
        cache = filled("a")

    assert CacheView(Attached()).cache is Attached.cache


def test_it_follows_the_cache_from_any_thread_at_ten_messages_a_second() -> None:
    cache = VisionFeatureCache(max_size=None)
    view = CacheView(cache)
    view.follow()
    messages = sent(view)

    def work(worker: int) -> None:
        for i in range(2000):
            cache.put(f"{worker}-{i % 50}", features())
            cache.get(f"{worker}-{i % 50}")

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    settle(view, lambda v: v["hits"] == 8000 and v["size"] == 200)
    times = [message["at"] for message in messages]
    assert messages
    assert all(later - earlier >= 0.095 for earlier, later in pairwise(times))
    assert all({"view"} <= set(message["state"]) <= {"view", "pictures"} for message in messages)


def test_one_change_set_is_one_message() -> None:
    cache = filled("a", "b", max_size=2)
    view = CacheView(cache, images={"c": Image.new("RGB", (300, 200), "teal")})
    view.follow()
    settle(view, lambda v: v["message"] > 1)
    messages = sent(view)
    cache.put("c", features(), label="c")  # evicts a, stores c, brings a picture
    settle(view, lambda v: v["evictions"] == 1)
    (message,) = messages
    assert set(message["state"]) == {"view", "pictures"}
    assert message["state"]["view"]["news"]["evict"][0]["label"] == "a"
    assert message["state"]["view"]["news"]["counts"] == {"evict": 1, "put": 1}


def test_one_line_says_how_large_the_cache_should_be() -> None:
    cache = VisionFeatureCache(max_size=2)
    view = CacheView(cache)
    view.follow()
    assert view.view["advice"] == ""
    for name in "abcabc":
        if cache.get(name) is None:
            cache.put(name, features(4))
    settle(view, lambda shown: shown["advice"])
    assert view.view["advice"] == str(advise(cache.events, 2))
    assert view.view["advice"] in view._repr_mimebundle_()[0]["text/html"]
    assert view.view["advice"] in advised_html(cache)
    cache.resize(max_size=3)
    settle(view, lambda shown: shown["advice"] == str(advise(cache.events, 3)))


def test_advice_knows_what_was_stored_since_the_last_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(widget, "ADVICE_INTERVAL", 0.01)
    cache = filled("a")
    view = CacheView(cache)
    view.follow()
    for name in "aab":
        cache.get(name)
    settle(view, lambda shown: "50%" in shown["advice"])
    cache.put("b", features(4))
    settle(view, lambda shown: shown["advice"] == str(advise(cache.events)))


def test_nothing_is_sent_after_close() -> None:
    cache = filled("a")
    view = CacheView(cache)
    view.follow()
    messages = sent(view)
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            cache.get("a")

    thread = threading.Thread(target=work)
    thread.start()
    settle(view, lambda v: v["hits"] > 0)
    view.close()
    count = sum(message["type"] == "comm_msg" for message in messages)
    hits = cache.info().hits
    while cache.info().hits < hits + 1000:
        pass
    stop.set()
    thread.join()
    assert sum(message["type"] == "comm_msg" for message in messages) == count
    assert not cache._journal.subscribers
    view.close()


def test_a_page_evicts_pins_sorts_and_clears() -> None:
    cache = filled("a", "b", "c")
    cache.put("large", features(9), label="large")
    view = CacheView(cache)
    hear(view, do="shown", page="p")
    ids = {entry["label"]: entry["id"] for entry in view.view["entries"]}
    hear(view, do="evict", ids=[ids["a"]])
    hear(view, do="pin", ids=[ids["b"]])
    settle(view, lambda v: [e["pinned"] for e in v["entries"]] == [True, False, False])
    assert [entry.pinned for entry in cache.entries()] == [True, False, False]
    hear(view, do="unpin", ids=[ids["b"]])
    hear(view, do="sort", by="bytes")
    settle(view, lambda v: v["sort"] == "bytes")
    assert labels(view)[0] == "large"
    hear(view, do="clear")
    settle(view, lambda v: v["size"] == 0)
    assert len(cache) == 0


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        "clear",
        {},
        {"do": "evict"},
        {"do": "evict", "ids": [{"a": 1}]},
        {"do": "evict", "ids": "a"},
        {"do": "sort", "by": "size"},
        {"do": "picture"},
        {"do": "filter", "text": 5, "bytes": [], "hits": "x"},
    ],
)
def test_nonsense_from_a_page_changes_nothing(content: Any) -> None:
    cache = filled("a")
    view = CacheView(cache)
    view._handle_custom_msg(content, [])
    view._handle_custom_msg({"do": "window", "start": "x" * 10}, [])
    assert len(cache) == 1
    assert view._sort == "recency"


def test_a_view_that_no_page_shows_costs_nothing() -> None:
    cache = filled("a")
    view = CacheView(cache)
    assert not cache._journal.subscribers
    hear(view, do="shown", page="one")
    hear(view, do="shown", page="two")
    hear(view, do="hidden", page="one")
    assert len(cache._journal.subscribers) == 1
    hear(view, do="hidden", page="two")
    assert not cache._journal.subscribers
    hear(view, do="shown", page="three")
    cache.get("a")
    settle(view, lambda v: v["hits"] == 1)


def test_a_forgotten_view_takes_its_subscription_along() -> None:
    cache = filled("a")
    view = CacheView(cache)
    view.follow()
    gone = weakref.ref(view)
    view.close()
    del view
    gc.collect()
    assert gone() is None
    assert not cache._journal.subscribers


def test_the_static_form_is_a_true_escaped_table() -> None:
    evil = "<img src=x onerror=alert(1)>"
    cache = filled(evil, "b.png", max_bytes="1MB")
    data, _ = CacheView(cache)._repr_mimebundle_()
    assert set(data) == {"text/html", "text/plain", "application/vnd.jupyter.widget-view+json"}
    assert evil not in data["text/html"]
    assert "&lt;img src=x onerror=alert(1)&gt;" in data["text/html"]
    assert "<table" in data["text/html"]
    assert evil in data["text/plain"]
    assert "2 of 20 entries" in data["text/plain"]


def picture(view: CacheView) -> Image.Image:
    """The only picture that a view has sent."""
    (url,) = view.pictures["urls"].values()
    head, _, data = url.partition(",")
    assert head in ("data:image/jpeg;base64", "data:image/png;base64")
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_pictures_are_small_and_never_the_tensor(tmp_path: Any) -> None:
    path = tmp_path / "wide.png"
    Image.new("RGB", (1200, 400), "teal").save(path)
    view = CacheView(filled("wide"), images={"wide": path})
    assert picture(view).size == (96, 32)
    assert picture(view).format == "JPEG"


def test_a_transparent_picture_stays_transparent() -> None:
    view = CacheView(filled("a"), thumbnail=lambda _key: Image.new("RGBA", (10, 10), (255, 0, 0, 0)))
    assert picture(view).getpixel((0, 0))[3] == 0


def test_a_picture_is_made_and_sent_once() -> None:
    asked: list[Key] = []

    def thumbnail(key: Key) -> Image.Image:
        asked.append(key)
        return Image.new("L", (20, 20))

    cache = filled("a")
    view = CacheView(cache, thumbnail=thumbnail)
    view.follow()
    messages = sent(view)
    cache.get("a")
    settle(view, lambda v: v["hits"] == 1)
    assert len(asked) == 1
    assert all("pictures" not in message["state"] for message in messages)
    hear(view, do="pictures")  # a page that was reloaded
    before = view.view["message"]
    settle(view, lambda v: v["message"] > before)
    assert len(asked) == 1
    assert any("pictures" in message["state"] for message in messages)


def test_a_picture_that_cannot_be_read_is_left_out(tmp_path: Any) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"nothing")
    assert CacheView(filled("a", "b"), images={"a": broken, "b": tmp_path / "missing"}).pictures == {}


def test_ten_thousand_entries_are_a_small_message() -> None:
    cache = filled(*(f"page-{i:05}.png" for i in range(10_000)), max_size=None)
    view = CacheView(cache)
    assert view.view["size"] == 10_000
    assert labels(view) == [f"page-{i:05}.png" for i in range(10_000 - WINDOW, 10_000)]
    assert len(str(view.view)) < 24_000
    hear(view, do="shown", page="p")
    hear(view, do="window", start=0)
    settle(view, lambda v: v["start"] == 0)
    assert labels(view)[0] == "page-00000.png"


def test_a_filter_keeps_what_a_page_asks_for() -> None:
    cache = filled("photos/Cafe\u0301 1.png", "photos/cafe 2.png", "dog.png")
    cache.put("big", features(64), label="big dog.png", meta={"kind": "prefix", "tokens": 9})
    cache.get("dog.png")
    cache.pin("photos/cafe 2.png")
    view = CacheView(cache)
    hear(view, do="shown", page="p")
    for asked, expected in [
        ({"text": "CAF\u00c9"}, ["photos/Cafe\u0301 1.png"]),
        ({"text": "dog"}, ["big dog.png", "dog.png"]),
        ({"text": "png big"}, ["big dog.png"]),
        ({"text": "prefix"}, ["big dog.png"]),
        ({"bytes": "2 KiB"}, ["big dog.png"]),
        ({"hits": 1}, ["dog.png"]),
        ({"pinned": True}, ["photos/cafe 2.png"]),
        ({"text": "nothing"}, []),
    ]:
        hear(view, do="filter", **asked)
        settle(view, lambda v, expected=expected: [e["label"] for e in v["entries"]] == expected)
        assert (view.view["matched"], view.view["size"], view.view["filtered"]) == (len(expected), 4, True)
    hear(view, do="filter", text=" ", bytes="many")
    settle(view, lambda v: v["matched"] == 4)


def test_an_entry_of_any_kind_says_what_it_is() -> None:
    cache = VisionFeatureCache()
    cache.put("p", features(), meta={"kind": "prefix", "tokens": 1024, "images": 3})
    cache.put("i", features(), meta={"tokens": 256})
    cache.put("x", features(), meta={"kind": "nonsense", "tokens": "many"})
    shown = [(e["kind"], e["tokens"], e["images"]) for e in CacheView(cache).view["entries"]]
    assert shown == [("prefix", 1024, 3), ("image", 256, 0), ("image", 0, 0)]


def test_what_a_page_selects_can_be_used_from_python() -> None:
    cache = filled("a", "b", "c")
    view = CacheView(cache)
    heard: list[Any] = []
    view.observe(lambda change: heard.append(change["new"]), "selected")
    ids = {entry["label"]: entry["id"] for entry in view.view["entries"]}
    hear(view, do="select", ids=[ids["c"], ids["a"], "unknown"])
    assert view.selected == heard[0] == [Key.of("c"), Key.of("a")]
    assert [cache.peek(key) is not None for key in view.selected] == [True, True]


def large_of(view: CacheView) -> tuple[Image.Image, str]:
    """The large picture of the only entry, and what is said of it."""
    messages = sent(view)
    hear(view, do="picture", ids=[view.view["entries"][0]["id"]])
    (content,) = [m["content"] for m in messages if m.get("method") == "custom"]
    data = content["url"].partition(",")[2]
    return Image.open(io.BytesIO(base64.b64decode(data))), content["said"]


def test_a_large_picture_is_made_when_asked_for_of_the_file_that_was_encoded(tmp_path: Path) -> None:
    path = tmp_path / "wide.png"
    Image.new("RGB", (1200, 400), "teal").save(path)
    key = Key.from_file(path).scoped("model")
    cache = VisionFeatureCache()
    cache.put(key, features(), label=str(path))
    view = CacheView(cache, thumbnail=lambda _key: Image.new("RGB", (90, 30), "teal"))
    picture, said = large_of(view)
    assert (picture.size, picture.format, said) == ((512, 171), "JPEG", "")
    other = CacheView(cache, thumbnail=lambda _key: Image.new("RGB", (90, 30), "teal"))
    Image.new("RGB", (800, 800), "red").save(path)
    picture, said = large_of(other)
    assert (picture.size, said) == ((90, 30), "its file has changed since: this is its thumbnail")
    path.unlink()
    picture, said = large_of(CacheView(cache, thumbnail=lambda _key: Image.new("RGB", (90, 30), "teal")))
    assert (picture.size, said) == ((90, 30), "its file is not there: this is its thumbnail")


def teal_in(path: Path) -> int:
    """Count the pixels of a picture that are teal."""
    red, green, blue = np.moveaxis(np.asarray(Image.open(path).convert("RGB"), np.int16), -1, 0)
    return int(((red < 10) & (abs(green - 128) < 10) & (abs(blue - 128) < 10)).sum())


def test_a_view_is_saved_as_a_page_or_a_picture(tmp_path: Path) -> None:
    view = CacheView(filled("a.png", "b.png"), images={"a.png": Image.new("RGB", (300, 200), "teal")})
    page = view.save(tmp_path / "out" / "view.html").read_text(encoding="utf-8")
    assert "data:image/jpeg;base64," in page
    assert "<script" not in page
    assert teal_in(view.save(tmp_path / "view.png")) > 10_000  # the card has the picture
    hear(view, do="filter", text="b.png")
    assert teal_in(view.save(tmp_path / "other.png")) == 0  # what is searched for is another
    assert view.save(str(tmp_path / "view.svg")).read_text(encoding="utf-8").count("<svg") == 1
    with pytest.raises(ValueError, match=r"view.pdf: save as .html, .png or .svg"):
        view.save(tmp_path / "view.pdf")


def test_the_script_and_the_style_are_made_of_their_parts() -> None:
    assert build_widget.script() == (build_widget.STATIC / "widget.js").read_text(encoding="utf-8")
    assert build_widget.style() == (build_widget.STATIC / "widget.css").read_text(encoding="utf-8")


def test_the_bound_that_is_nearest_is_named() -> None:
    assert CacheView(filled("a", "b", max_size=2, max_bytes="1 GiB")).view["fullest"] == "entries"
    assert CacheView(filled("a", "b", max_size=20, max_bytes="2 KiB")).view["fullest"] == "bytes"


def test_a_window_is_cut_to_what_there_is() -> None:
    cache = filled(*"abcdef")
    cache.get("b")
    for sort, start, expected in [
        ("recency", None, "fb"),
        ("recency", 0, "ac"),
        ("recency", 99, "fb"),
        ("hits", None, "bf"),
        ("hits", 99, "ca"),
    ]:
        _, matched, entries = window(cache, sort, start, 2)
        assert matched == 6
        assert "".join(entry.label for entry in entries) == expected, (sort, start)
    assert window(VisionFeatureCache(), "recency", None) == (0, 0, [])


def test_a_window_by_recency_asks_only_about_what_it_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = filled(*map(str, range(500)), max_size=None)
    monkeypatch.setattr(cache, "entries", lambda: pytest.fail("looked at every entry"))
    snapshot(cache, Names(), now=0.0)


def test_history_is_kept_in_buckets() -> None:
    now = [0.0]
    history = History(clock=lambda: now[0])
    cache = filled("a")
    cache.get("a")
    history.add(cache.info())
    now[0] = 0.5
    cache.get("z")
    history.add(cache.info())
    now[0] = 1.5
    cache.reset_info()
    cache.get("a")
    history.add(cache.info())
    assert history.rows() == [[1, 1, 1, 1024], [0, 1, 0, 1024]]
    now[0] = History.seconds * (History.buckets + 1)
    assert history.rows() == []


def test_what_advice_needs_is_loaded_before_the_cache_is_followed() -> None:
    code = """
import sys
from visioncache import VisionFeatureCache
from visioncache.jupyter.widget import CacheView
view = CacheView(VisionFeatureCache(2))
assert "pandas" not in sys.modules
view.follow()
assert "visioncache.study.sim.bounds" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
