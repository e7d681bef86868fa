"""The widget on pages with VS Code's, Colab's and marimo's variables, and with none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from scenes import filled, serious_violations

from visioncache.jupyter import CacheView

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

HOST = """<!doctype html><html lang="en"><head><title>A host</title><style>
:root { color-scheme: light dark; }
@media (prefers-color-scheme: light) { :root { %(light)s } body { background: %(light_page)s } }
@media (prefers-color-scheme: dark) { :root { %(dark)s } body { background: %(dark_page)s } }
%(css)s</style></head><body><main id="host"></main></body></html>"""

MOUNT = """async ([source, state]) => {
    const url = URL.createObjectURL(new Blob([source], {type: "text/javascript"}));
    const { default: widget } = await import(url);
    const listeners = {};
    window.sent = [];
    window.model = {
        get: name => state[name],
        on: (event, f) => (listeners[event] ??= new Set()).add(f),
        off: (event, f) => listeners[event]?.delete(f),
        send: content => window.sent.push(content),
        listening: () => Object.values(listeners).reduce((n, set) => n + set.size, 0),
    };
    window.cleanup = widget.render({model: window.model, el: document.getElementById("host")});
}"""


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


def test_a_name_that_has_no_room_keeps_its_tail(page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 800})
    mount(page, None, "light")
    box, tail = page.evaluate(
        """() => {
            const name = document.querySelector(".vcache-tile .vcache-name");
            const walker = document.createTreeWalker(name, NodeFilter.SHOW_TEXT);
            const text = walker.nextNode();
            text.data = "a-scan-of-many-pages-of-one-document-017.png";
            const last = document.createRange();
            last.setStart(text, text.length - 1);
            last.setEnd(text, text.length);
            return [name, last].map(it => it.getBoundingClientRect()).map(it => [it.left, it.right]);
        }"""
    )
    assert box[0] <= tail[0] < tail[1] <= box[1] + 1


def test_without_motion_nothing_moves(page: Page) -> None:
    page.emulate_media(reduced_motion="reduce")
    mount(page, None, "light")
    assert page.evaluate("document.getAnimations().length") == 0


def test_closing_leaves_no_listener_and_says_goodbye(page: Page) -> None:
    mount(page, None, "light")
    assert page.evaluate("window.model.listening()") == 2
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
