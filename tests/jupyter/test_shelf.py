"""The shelf's cards: filled where they stand, moved only where they must be."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING, Any

import pytest
from scenes import filled, put

from visioncache.jupyter import CacheView
from visioncache.jupyter.snapshot import snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page

SETTLED = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
LEFT_AND_TOP = "tile => { const box = tile.getBoundingClientRect(); return [box.left, box.top]; }"
SHIFT = "tile => tile.getAnimations().map(a => a.effect.getKeyframes()[0].transform)"


class Shelf:
    """A view on a bare page, and the count of cards that were put into it since."""

    def __init__(self, page: Page, view: CacheView) -> None:
        self.page, self.view, self.messages = page, view, itertools.count(100)
        put(page, view)
        page.wait_for_selector(".vcache-tile")
        page.evaluate("""() => {
            window.added = 0;
            const count = changes => { for (const { addedNodes } of changes) window.added += addedNodes.length; };
            new MutationObserver(count).observe(document.querySelector(".vcache-tiles"), {childList: true});
        }""")

    def show(self, **changed: Any) -> None:
        self.page.evaluate(
            "view => window.update(view)",
            {**self.view.view, "message": next(self.messages), **changed},
        )
        self.page.evaluate(SETTLED)

    def put_in(self) -> int:
        return self.page.evaluate("window.added")

    def names(self) -> list[str]:
        return self.page.eval_on_selector_all(".vcache-tile", "tiles => tiles.map(tile => tile.title)")


@pytest.fixture
def shelf(page: Page) -> Iterator[Shelf]:
    """A shelf of the last 48 of 1000 entries."""
    view = CacheView(filled(*(f"page-{i:03}.png" for i in range(1000)), max_size=None))
    yield Shelf(page, view)
    view.close()


def test_a_far_scroll_fills_the_cards_where_they_stand(shelf: Shelf) -> None:
    shelf.page.eval_on_selector(".vcache-shelf", "e => { e.scrollTop = 0; }")
    there, _ = snapshot(shelf.view.cache, shelf.view._names, start=0, now=shelf.view.cache.now())
    shelf.show(**there)
    assert shelf.names() == [f"page-{i:03}.png" for i in range(48)]
    assert shelf.put_in() == 0
    assert shelf.page.eval_on_selector(".vcache-shelf", "e => e.scrollTop") == 0
    said = shelf.page.locator(".vcache-tile").first
    assert said.locator(".vcache-name").text_content() == "page-000"
    assert (said.get_attribute("aria-label") or "").startswith("page-000.png, ")


@pytest.mark.parametrize(
    ("order", "moves"),
    [
        ([*range(1, 48), 0], 1),  # the first was used
        ([*range(2, 47), 47, 1, 0], 2),
        ([47, *range(47)], 1),  # the last got more hits than all others
        ([*range(10), 30, *range(10, 30), *range(31, 48)], 1),
    ],
)
def test_cards_that_stay_in_order_are_not_moved(shelf: Shelf, order: list[int], moves: int) -> None:
    entries = shelf.view.view["entries"]
    shelf.show(entries=[entries[i] for i in order])
    assert shelf.names() == [entries[i]["label"] for i in order]
    assert shelf.put_in() == moves


def test_whatever_changes_the_cards_are_in_the_order_of_the_entries(shelf: Shelf) -> None:
    dice = random.Random(1)
    known = [
        entry
        for start in (0, 48, 952)
        for entry in snapshot(shelf.view.cache, shelf.view._names, start=start, now=200)[0]["entries"]
    ]
    for _ in range(60):
        entries = dice.sample(known, dice.randrange(1, 49))
        shelf.show(entries=entries)
        assert shelf.names() == [entry["label"] for entry in entries]


def test_cards_glide_from_where_they_stood_and_a_ghost_stays_where_its_card_was(shelf: Shelf) -> None:
    entries = shelf.view.view["entries"]
    before = shelf.page.eval_on_selector_all(".vcache-tile", f"tiles => tiles.map({LEFT_AND_TOP})")
    gone = {"id": entries[0]["id"], "label": entries[0]["label"], "nbytes": 1}
    after = {"entries": entries[1:], "matched": 999, "news": {"counts": {}, "hit": [], "evict": [gone]}}
    scroll = "document.querySelector('.vcache-shelf').scrollTop"
    was = shelf.page.evaluate(scroll)
    # A busy machine may be past the end of a glide, or of a ghost, before it is asked: they stand still here.
    shelf.page.evaluate("""() => {
        const animate = Element.prototype.animate;
        Element.prototype.animate = function (...how) {
            const animation = animate.apply(this, how);
            animation.pause();
            return animation;
        };
        window.setTimeout = () => 0;
    }""")
    shelf.show(**after)
    down = shelf.page.evaluate(scroll) - was
    assert shelf.page.eval_on_selector(".vcache-ghost", LEFT_AND_TOP) == pytest.approx(
        [before[0][0], before[0][1] - down], abs=1
    )
    shifts = shelf.page.eval_on_selector_all(".vcache-tile", f"tiles => tiles.map({SHIFT})")
    shelf.page.evaluate("document.getAnimations().forEach(animation => animation.finish())")
    now = shelf.page.eval_on_selector_all(".vcache-tile", f"tiles => tiles.map({LEFT_AND_TOP})")
    for (shift,), (x, y), (left, top) in zip(shifts, now, before[1:], strict=True):
        across, along = (float(part.rstrip("px")) for part in shift[len("translate(") : -1].split(", "))
        assert [x + across, y + down + along] == pytest.approx([left, top], abs=1)


def test_nothing_in_a_card_is_painted_over_the_ring_of_focus(shelf: Shelf) -> None:
    tile = shelf.page.locator(".vcache-tile").last
    tile.focus()
    shelf.page.keyboard.press("ArrowLeft")
    layers = "e => [...e.querySelectorAll('*')].filter(c => getComputedStyle(c).position !== 'static').length"
    seen = shelf.page.locator(".vcache-tile:focus")
    assert seen.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
    assert seen.evaluate(layers) == 1  # the badge, which is hidden


@pytest.mark.parametrize(("key", "place"), [("ArrowLeft", 951), ("ArrowRight", 953)])
def test_a_key_counts_from_the_card_that_is_seen_while_another_window_arrives(
    shelf: Shelf, key: str, place: int
) -> None:
    """The snapshot of a scroll may arrive between two frames, and a key before it is drawn."""
    shelf.page.locator(".vcache-tile").first.focus()
    shelf.page.evaluate(SETTLED)
    assert shelf.page.evaluate("document.activeElement.title") == "page-952.png"
    there, _ = snapshot(shelf.view.cache, shelf.view._names, start=924, now=shelf.view.cache.now())
    view = {**shelf.view.view, **there, "message": next(shelf.messages)}
    arrive_and_press = """([view, key]) => {
        window.update(view);
        document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    }"""
    shelf.page.evaluate(arrive_and_press, [view, key])
    shelf.page.evaluate(SETTLED)
    assert shelf.page.evaluate("document.activeElement.title") == f"page-{place}.png"
