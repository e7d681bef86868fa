"""Build and ask what tests of the Jupyter surface need."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import lab as lab_tool
import numpy as np
import pytest

from visioncache import VisionFeatureCache

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page

    from visioncache.jupyter import CacheView

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
        answer: content => listeners["msg:custom"].forEach(f => f(content)),
        listening: () => Object.values(listeners).reduce((n, set) => n + set.size, 0),
    };
    window.answer = window.model.answer;
    window.update = view => { state.view = view; listeners["change:view"].forEach(f => f()); };
    window.cleanup = widget.render({model: window.model, el: document.getElementById("host")});
}"""

PROGRAMS = {"chromium": lab_tool.chromium_path}


def require(program: str) -> None:
    """Skip in one line when a program is missing; fail where `VISIONCACHE_REQUIRE_BROWSER` is set."""
    if PROGRAMS.get(program, lambda: shutil.which(program))():
        return
    missing = f"{program} is not installed (`apt install {program}`, or CHROMIUM=path)"
    if os.environ.get("VISIONCACHE_REQUIRE_BROWSER"):
        pytest.fail(missing, pytrace=False)
    pytest.skip(missing)


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def features(kib: int = 1) -> np.ndarray:
    """A value of so many KiB."""
    return np.zeros((kib, 256), np.float32)


def filled(*labels: str, kib: int = 1, **bounds: Any) -> VisionFeatureCache:
    """A cache of one entry a label."""
    cache = VisionFeatureCache(**bounds)
    for label in labels:
        cache.put(label, features(kib), label=label, seconds=0.25)
    return cache


def put(page: Page, view: CacheView) -> None:
    """Put a view on a bare page."""
    bare = {"light": "", "dark": "", "light_page": "#fff", "dark_page": "#111", "css": view._css}
    page.set_content(HOST % bare)
    page.evaluate(MOUNT, [view._esm, json.loads(json.dumps({"view": view.view, "pictures": view.pictures}))])


def serious_violations(page: Page, selector: str) -> list[str]:
    """Return what axe finds wrong, seriously or worse, in a part of a page."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, context=selector).response["violations"]
    return [
        f"{v['id']}: {node['html'][:200]} {node['failureSummary']}"
        for v in found
        if v["impact"] in ("serious", "critical")
        for node in v["nodes"]
    ]


TASK = "ThreadControllerImpl::RunTask"


@contextmanager
def traced(page: Page) -> Iterator[list[float]]:
    """Fill a list with the milliseconds of processor time of every task of the page's main thread.

    A frame is one task: script, style, layout and paint. A machine that is busy elsewhere adds nothing.
    """
    session = page.context.browser.new_browser_cdp_session()
    events: list[dict[str, Any]] = []
    ended: list[Any] = []
    session.on("Tracing.dataCollected", lambda found: events.extend(found["value"]))
    session.on("Tracing.tracingComplete", lambda _: ended.append(True))
    session.send("Tracing.start", {"traceConfig": {"includedCategories": ["toplevel", "devtools.timeline"]}})
    tasks: list[float] = []
    try:
        yield tasks
    finally:
        session.send("Tracing.end")
        while not ended:
            page.evaluate("new Promise(requestAnimationFrame)")
        session.detach()
    threads = {(e["pid"], e["tid"]) for e in events if e.get("args", {}).get("name") == "CrRendererMain"}
    ours = [e for e in events if (e.get("pid"), e.get("tid")) in threads and e.get("ph") == "X"]
    painting = Counter(e["pid"] for e in ours if e["name"] == "Paint").most_common(1)[0][0]
    tasks += [e["tdur"] / 1000 for e in ours if e["pid"] == painting and e["name"] == TASK and "tdur" in e]
