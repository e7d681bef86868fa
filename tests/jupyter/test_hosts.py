"""The widget on pages with VS Code's, Colab's and marimo's variables, and with none."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest
from scenes import HOST, MOUNT, features, filled, put, serious_violations, traced

from visioncache import VisionFeatureCache
from visioncache.jupyter import CacheView
from visioncache.jupyter.snapshot import Filter, snapshot

if TYPE_CHECKING:
    from playwright.sync_api import Page

# What the hosts set, light and dark: background, text, border, accent, error.
HOSTS = {
    "vscode": {
        "names": [
            "--vscode-editor-background",
            "--vscode-editor-foreground",
            "--vscode-panel-border",
            "--vscode-textLink-foreground",
            "--vscode-errorForeground",
        ],
        "light": ["#ffffff", "#3b3b3b", "#e5e5e5", "#005fb8", "#f85149"],
        "dark": ["#1f1f1f", "#cccccc", "#2b2b2b", "#4daafc", "#f85149"],
    },
    "colab": {
        "names": [
            "--colab-primary-surface-color",
            "--colab-primary-text-color",
            "--colab-border-color",
            "--colab-primary-color",
            "--colab-error-color",
        ],
        "light": ["#ffffff", "#1f1f1f", "#dadce0", "#0b57d0", "#b3261e"],
        "dark": ["#383838", "#e3e3e3", "#5f6368", "#a8c7fa", "#f2b8b5"],
    },
    "marimo": {
        "names": ["--background", "--foreground", "--border", "--primary", "--destructive"],
        "light": [
            "hsl(0 0% 100%)",
            "hsl(222.2 47.4% 11.2%)",
            "hsl(214.3 31.8% 91.4%)",
            "hsl(208 80% 45%)",
            "hsl(0 84% 60%)",
        ],
        "dark": [
            "hsl(151 5.5% 10.8%)",
            "hsl(155 7% 93%)",
            "hsl(155 3% 20%)",
            "hsl(208 70% 60%)",
            "hsl(0 63% 45%)",
        ],
    },
}


def mount(page: Page, host: str | None, scheme: str) -> None:
    """Put the widget, over a cache with a pinned entry, on a page with a host's variables."""
    found: dict[str, Any] = HOSTS[host] if host else {"names": [], "light": ["#fff"], "dark": ["#16191d"]}
    rules = {
        theme: " ".join(
            f"{name}: {value};" for name, value in zip(found["names"], found[theme], strict=False)
        )
        for theme in ("light", "dark")
    }
    cache = filled("photos/cat.png", "dog.png", "palace.jpg", max_bytes="1MB")
    cache.pin("dog.png")
    view = CacheView(cache)
    page.emulate_media(color_scheme=scheme)
    page.set_content(
        HOST % {**rules, "light_page": found["light"][0], "dark_page": found["dark"][0], "css": view._css}
    )
    page.evaluate(MOUNT, [view._esm, json.loads(json.dumps({"view": view.view, "pictures": view.pictures}))])
    view.close()


def look(page: Page) -> list[str]:
    """The widget's background and the colour of a small text."""
    return page.evaluate(
        "() => [getComputedStyle(document.querySelector('.vcache')).backgroundColor, "
        "getComputedStyle(document.querySelector('.vcache-small')).color]"
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("host", [*HOSTS, None])
def test_it_takes_the_hosts_colours_and_stays_legible(page: Page, host: str | None, scheme: str) -> None:
    mount(page, host, scheme)
    page.locator(".vcache-tile").first.click()
    background = look(page)[0]
    page.evaluate("document.body.append(Object.assign(document.createElement('i'), {id: 'probe'}))")
    expected = (HOSTS[host][scheme] if host else [{"light": "#ffffff", "dark": "#16191d"}[scheme]])[0]
    page.evaluate("colour => document.getElementById('probe').style.backgroundColor = colour", expected)
    assert background == page.evaluate("getComputedStyle(document.getElementById('probe')).backgroundColor")
    page.evaluate("document.getElementById('probe').remove()")
    assert serious_violations(page, "#host") == []


@pytest.mark.parametrize("host", [*HOSTS, None])
def test_it_changes_with_the_theme_while_it_is_open(page: Page, host: str | None) -> None:
    mount(page, host, "light")
    light = look(page)
    page.emulate_media(color_scheme="dark")
    assert all(before != after for before, after in zip(light, look(page), strict=True))


def test_it_is_usable_in_a_narrow_column(page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 800})
    mount(page, None, "light")
    page.add_style_tag(content="dl { overflow: hidden }")  # as JupyterLab's: no height is too small then
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    facts = page.locator(".vcache-facts").bounding_box()
    last = page.locator(".vcache-facts > div").last.bounding_box()
    assert facts is not None
    assert last is not None
    assert facts["height"] >= last["height"] > 0
    assert last["y"] + last["height"] <= facts["y"] + facts["height"] + 1


def seen_words(page: Page, selector: str) -> list[str]:
    """The parts of names that have room, cut or not: each is at least a letter wide."""
    return page.eval_on_selector_all(
        selector,
        "names => names.map(name => [...name.children].map(part => part.getBoundingClientRect())"
        ".map(box => [Math.round(box.width), Math.round(box.left), Math.round(box.right)]))",
    )


@pytest.mark.parametrize(("width", "zoom"), [(400, 1), (815, 1), (815, 2), (1440, 1)])
def test_twenty_names_are_readable_cut_in_the_middle(page: Page, width: int, zoom: int) -> None:
    page.set_viewport_size({"width": width // zoom, "height": 900})
    names = [f"Screenshot 2026-11-{i:02} at 10.00.{i:02}.png" for i in range(19)] + ["cat.png"]
    cache = filled(*names)
    view = CacheView(cache)
    put(page, view)
    stems = page.eval_on_selector_all(
        ".vcache-tile .vcache-name", "names => names.map(n => [...n.children].map(p => p.textContent))"
    )
    assert stems[0] == ["Screenshot 2026-11-00 at 10", ".00.00"]
    assert "".join(stems[-1]) == "cat"  # the extension goes
    for tile, (head, tail) in zip(
        page.eval_on_selector_all(".vcache-tile", "t => t.map(e => e.getBoundingClientRect().right)"),
        seen_words(page, ".vcache-tile .vcache-name"),
        strict=True,
    ):
        assert head[0] >= 8  # something of the beginning
        assert tail[2] <= tile + 1  # and all of the end
    assert page.evaluate("document.documentElement.scrollWidth") <= width // zoom
    sizes = page.eval_on_selector_all(
        ".vcache-tile", "tiles => tiles.map(t => `${t.offsetWidth} x ${t.offsetHeight}`)"
    )
    assert len(set(sizes)) == 1  # cards are of one size
    view.close()


class Sized:
    """A value of so many bytes, without them."""

    shape, dtype = (1, 1), "float16"

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes


@pytest.mark.parametrize("sizes", [[2**10, 2**20, 2**30], [2**20] * 20, [2**20] * 200, [2**20, 2**28] * 100])
def test_the_bar_is_true_to_bytes_and_to_what_is_free(page: Page, sizes: list[int]) -> None:
    cache = VisionFeatureCache(max_size=None, max_bytes=2 * sum(sizes), sizer=lambda value: value.nbytes)
    for number, size in enumerate(sizes):
        cache.put(f"{number}.png", Sized(size), label=f"{number}.png")
    view = CacheView(cache)
    put(page, view)
    whole = page.eval_on_selector(".vcache-strip", "e => e.getBoundingClientRect().width")
    widths = page.eval_on_selector_all(
        ".vcache-parts > i", "parts => parts.map(p => [p.dataset.id, p.getBoundingClientRect().width])"
    )
    shown = {entry["id"]: entry["nbytes"] for entry in view.view["entries"]}
    for name, width in widths:
        expected = shown[name] if name else sum(sizes) - sum(shown.values())
        assert width / whole == pytest.approx(expected / cache.max_bytes, abs=0.001)
    assert sum(width for _, width in widths) / whole == pytest.approx(0.5, abs=0.005)
    assert page.locator(".vcache-free").inner_text().endswith("free")
    view.close()


@pytest.mark.parametrize(
    ("bounds", "first"),
    [
        ({"max_size": 4, "max_bytes": "2 GiB"}, "4 of 4 entries (100%)"),
        ({"max_size": 20, "max_bytes": "5 KiB"}, "4 KiB of 5 KiB (80%)"),
        ({"max_size": None, "max_bytes": None}, "4 KiB held, no bound on bytes"),
    ],
)
def test_the_words_below_the_bar_begin_with_the_bound_that_binds(
    page: Page, bounds: dict[str, Any], first: str
) -> None:
    view = CacheView(filled(*"abcd", **bounds))
    put(page, view)
    assert page.locator(".vcache-nearest").inner_text() == first
    assert page.locator(".vcache-bounds > :first-child").inner_text() == first
    view.close()


def test_a_prefix_has_a_look_of_its_own(page: Page) -> None:
    cache = filled("cat.png")
    cache.put("p", features(8), label="system prompt", meta={"kind": "prefix", "tokens": 1024, "images": 3})
    view = CacheView(cache)
    put(page, view)
    prefix = page.locator(".vcache-tile[data-kind=prefix]")
    assert prefix.locator(".vcache-small").all_inner_texts() == ["prefix · 8 KiB", "1,024 tokens, 3 images"]
    assert "prefix, 8 KiB, 1,024 tokens, 3 images" in (prefix.get_attribute("aria-label") or "")
    styles = page.eval_on_selector_all(".vcache-tile", "t => t.map(e => getComputedStyle(e).borderLeftStyle)")
    assert styles == ["solid", "double"]
    glyphs = page.eval_on_selector_all(".vcache-tile .vcache-picture", "t => t.map(e => e.innerHTML)")
    assert glyphs[0] != glyphs[1]
    prefix.click()
    page.wait_for_selector(".vcache-open")  # drawn with the next frame
    assert "1,024 tokens" in page.locator(".vcache-all").inner_text()
    assert serious_violations(page, "#host") == []
    view.close()


def test_without_its_kernel_it_greys_out_says_so_and_stands_still(page: Page) -> None:
    page.clock.install()
    mount(page, None, "light")
    page.locator(".vcache-tile").first.click()
    page.evaluate("document.getElementById('host').classList.add('jupyter-widgets-disconnected')")
    page.wait_for_selector(".vcache-dead")
    assert "The kernel that this view followed is gone" in page.locator(".vcache-notice").inner_text()
    assert page.locator(".vcache button:not(:disabled), .vcache input:not(:disabled)").count() == 0
    asked = page.evaluate("window.sent.length")
    page.locator(".vcache-tile").last.click()
    page.keyboard.press("Delete")
    assert page.evaluate("window.sent.length") == asked
    said = page.locator(".vcache-tiles").inner_text()
    page.clock.run_for(60_000)
    assert page.locator(".vcache-tiles").inner_text() == said
    assert serious_violations(page, "#host") == []
    page.evaluate("document.getElementById('host').classList.remove('jupyter-widgets-disconnected')")
    page.wait_for_selector(".vcache:not(.vcache-dead)")
    assert page.locator(".vcache button:not(:disabled)").count() > 3


def test_enter_and_click_open_a_large_picture_with_all_facts(page: Page) -> None:
    mount(page, None, "light")
    page.locator(".vcache-tile").nth(1).click()
    assert page.evaluate("window.sent.filter(m => m.do === 'picture').length") == 1
    name = page.locator(".vcache-tile").nth(1).get_attribute("data-id")
    page.evaluate(
        "name => window.answer({picture: name, url: 'https://example.invalid/x.png', said: 'no'})", name
    )
    assert page.locator(".vcache-open .vcache-picture img").count() == 0  # nothing is fetched
    page.evaluate(
        "name => window.answer({picture: name, said: '', url: document.createElement('canvas').toDataURL()})",
        name,
    )
    page.wait_for_selector(".vcache-open .vcache-picture img")
    listed = page.locator(".vcache-all li").all_inner_texts()
    assert {"1 KiB", "0 hits", "took 250 ms", "pinned", "key s:dog.png"} <= set(listed)
    page.keyboard.press("Escape")
    page.wait_for_function("!document.querySelector('.vcache-open')")
    page.keyboard.press("Enter")
    page.wait_for_selector(".vcache-open")
    page.locator(".vcache-tile").nth(1).click()  # a click on what is open closes it
    page.wait_for_function("!document.querySelector('.vcache-open')")


def test_several_entries_are_selected_and_evicted_together(page: Page) -> None:
    mount(page, None, "light")
    page.locator(".vcache-tile").nth(0).click()
    page.locator(".vcache-tile").nth(2).click(modifiers=["ControlOrMeta"])
    page.wait_for_function("document.querySelectorAll('.vcache-tile[aria-selected=true]').length === 2")
    assert page.evaluate("window.sent.filter(m => m.do === 'select').at(-1).ids.length") == 2
    page.get_by_role("button", name="Evict").click()
    assert page.evaluate("window.sent.at(-1).ids.length") == 2


def test_without_motion_nothing_moves(page: Page) -> None:
    page.emulate_media(reduced_motion="reduce")
    mount(page, None, "light")
    assert page.evaluate("document.getAnimations().length") == 0


def test_closing_leaves_no_listener_and_says_goodbye(page: Page) -> None:
    mount(page, None, "light")
    assert page.evaluate("window.model.listening()") == 4
    page.evaluate("window.cleanup()")
    assert page.evaluate("window.model.listening()") == 0
    assert page.evaluate("window.sent.at(0).do") == "shown"
    assert page.evaluate("window.sent.at(-1).do") == "hidden"


def test_keys_stop_at_the_widget(page: Page) -> None:
    mount(page, None, "light")
    page.evaluate(
        "() => { window.keys = []; addEventListener('keydown', event => window.keys.push(event.key)); }"
    )
    page.locator(".vcache-tile").first.focus()
    for key in ("d", "d", "ArrowRight", "Enter", "Delete"):
        page.keyboard.press(key)
    assert page.evaluate("window.keys") == []
    assert page.evaluate("window.sent.filter(message => message.do === 'evict').length") == 1


def scroll_and_filter(page: Page, cache: VisionFeatureCache, view: CacheView) -> list[float]:
    """Scroll a view from its end to its beginning and filter it; the milliseconds of every task."""
    names, base = view._names, view.view
    bottom = page.eval_on_selector(
        ".vcache-shelf", "e => { e.scrollTop = e.scrollHeight; return e.scrollTop; }"
    )
    assert bottom > 100_000  # the scroll bar knows of all of them
    settled = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    place = 10_000
    with traced(page) as tasks:
        for step in range(1, 25):
            page.eval_on_selector(
                ".vcache-shelf", "(e, top) => { e.scrollTop = top; }", bottom * (1 - step / 24)
            )
            asked = "window.sent.filter(m => m.do === 'window').at(-1).start"
            page.wait_for_function(f"window.sent.some(m => m.do === 'window') && {asked} !== {place}")
            place = page.evaluate(asked)
            shown, _ = snapshot(cache, names, start=place, now=cache.now())
            page.evaluate("shown => window.update(shown)", {**base, **shown, "message": step + 1})
            page.evaluate(settled)
            assert page.locator(".vcache-tile").first.get_attribute("title") == f"scans/page-{place:05}.png"
        assert place == 0
        page.get_by_role("searchbox").fill("page-0012")
        page.wait_for_function("window.sent.at(-1).do === 'filter'")
        wanted = Filter.of(page.evaluate("window.sent.at(-1)"))
        shown, _ = snapshot(cache, names, wanted=wanted, now=cache.now())
        page.evaluate("shown => window.update(shown)", {**base, **shown, "message": 99})
        page.wait_for_function("document.querySelectorAll('.vcache-tile').length === 10")
        page.evaluate(settled)
    assert page.locator("output").inner_text() == "10 entries of 10,000"
    assert page.evaluate("document.querySelectorAll('.vcache *').length") < 2000
    return tasks


def test_ten_thousand_entries_scroll_and_filter_within_a_frame_of_fifty_milliseconds(page: Page) -> None:
    cache = filled(*(f"scans/page-{i:05}.png" for i in range(10_000)), max_size=None)
    worst: list[float] = []
    while len(worst) < 10 and min(worst, default=math.inf) >= 50:  # a run may meet a collection of garbage
        view = CacheView(cache)
        put(page, view)
        page.wait_for_selector(".vcache-tile")
        worst.append(max(scroll_and_filter(page, cache, view)))
        view.close()
    assert min(worst) < 50, worst


def test_a_picture_from_elsewhere_is_not_fetched(page: Page) -> None:
    cache = filled("a")
    view = CacheView(cache)
    name = view.view["entries"][0]["id"]
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.set_content("<html lang=en><title>x</title><main id=host></main>")
    state = {"view": view.view, "pictures": {"message": 1, "urls": {name: "https://example.invalid/x.png"}}}
    page.evaluate(MOUNT, [view._esm, json.loads(json.dumps(state))])
    view.close()
    assert page.locator(".vcache-tile svg").count() == 2  # the glyph and the badge's pin
    assert not any("example.invalid" in url for url in asked)
