"""CacheView: the widget that shows a cache while it works."""

from __future__ import annotations

import secrets
import weakref
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets
from IPython.display import display

from visioncache.cache import VisionFeatureCache
from visioncache.events import LOOKUPS
from visioncache.jupyter import cells
from visioncache.jupyter.advice import advice, load
from visioncache.jupyter.fallback import static_html
from visioncache.jupyter.pace import Pace
from visioncache.jupyter.pictures import Pictures
from visioncache.jupyter.saving import save_view
from visioncache.jupyter.snapshot import ALL, SORTS, Filter, History, Names, Sort, news, snapshot
from visioncache.jupyter.weak import weak
from visioncache.recent import Recent

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping

    from visioncache.events import Event
    from visioncache.keys import Key
    from visioncache.records import Entry

INTERVAL = 0.1
"""Seconds between two messages: at most ten a second."""

ADVICE_INTERVAL = 3.0
"""Seconds between two looks at how large the cache should be."""

_EACH = {"evict": "pop", "pin": "pin", "unpin": "unpin"}
"""Requests that a page may send for entries, and the method of the cache that answers each."""
_STATIC = Path(__file__).parent / "static"
_following: weakref.WeakSet[CacheView] = weakref.WeakSet()


class CacheView(anywidget.AnyWidget):  # type: ignore[misc]  # anywidget is untyped here
    """A live view of a cache: a bar where each entry is as wide as its bytes, over a shelf of cards.

    It follows the cache from any thread, with at most ten messages a second, while a page shows it.

    Args:
        cache: a `VisionFeatureCache`, or what `attach` returned.
        thumbnail: a picture of a key, or None; by default that of whatever is attached to the cache.
        images: pictures (or paths of pictures) by source, where no model decodes them: what
            `Key.of` takes, or the entry's label.
    """

    # As text: of a path, anywidget would keep every view that was ever made.
    _esm = (_STATIC / "widget.js").read_text(encoding="utf-8")
    _css = (_STATIC / "widget.css").read_text(encoding="utf-8")

    view = traitlets.Dict().tag(sync=True)
    """The latest snapshot."""
    pictures = traitlets.Dict().tag(sync=True)
    """Thumbnails that came with a snapshot, `{"message": its number, "urls": data URLs by short name}`;
    the page keeps earlier ones."""
    selected = traitlets.List()
    """Keys of the entries that are selected in a page; `view.observe(f, "selected")` tells of changes."""

    def __init__(
        self,
        cache: VisionFeatureCache | Any,
        *,
        thumbnail: Callable[[Key], Any] | None = None,
        images: Mapping[Any, Any] | None = None,
    ) -> None:
        held = getattr(cache, "cache", cache)
        if not isinstance(held, VisionFeatureCache):
            raise TypeError(
                f"CacheView shows a VisionFeatureCache, or what attach() returned; got {type(cache).__name__}"
            )
        self.cache = held
        self._names = Names()
        self._id = secrets.token_hex(16)
        """By which a page finds the model, and the table that stands in for it."""
        self._history = History()
        self._happened: deque[Event] = deque(maxlen=1000)
        self._sort: Sort = "recency"
        self._start: int | None = None
        self._wanted: Filter = ALL
        self._messages = 0
        self._pages: set[str] = set()
        self._subscription: weakref.finalize[Any, CacheView] | None = None
        self._thumbnails = Pictures(thumbnail or cells.thumbnails_of(held), images or {})
        self._sent: Recent[str, bool] = Recent(Names.capacity)
        self._resend = False
        self._pace = Pace(weak(self, "_tell"), INTERVAL)
        self._advice = ""
        self._advising = Pace(weak(self, "_advise"), ADVICE_INTERVAL)
        view, pictures = self._look()
        super().__init__(view=view, pictures=pictures, model_id=self._id)
        self.on_msg(weak(self, "_hear"))
        cells.replace(self)

    @property
    def live(self) -> bool:
        """Tell whether it follows its cache now."""
        return self._subscription is not None

    @property
    def shown(self) -> bool:
        """Tell whether a page shows it, as far as pages have told."""
        return bool(self._pages)

    def follow(self) -> None:
        """Follow the cache; a page that shows the widget asks for it."""
        if self._subscription is None and not self._pace.closed:
            load()
            self._subscription = weakref.finalize(self, self.cache.subscribe(weak(self, "_notice")))
            _following.add(self)
            self._advising.nudge()
            self._pace.nudge()

    def rest(self) -> None:
        """Stop following the cache until a page shows the widget again."""
        if self._subscription is not None:
            self._subscription()
            self._subscription = None
            _following.discard(self)

    def refresh(self) -> None:
        """Send what the cache holds now, within a tenth of a second."""
        self._pace.nudge()

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write what the view shows now as a picture (`.png`, `.svg`), or a page about its cache (`.html`).

        Raises:
            ValueError: the name ends in something else.
            OSError: the file can't be written.
        """
        return save_view(
            self.cache, path, self._thumbnails, sort=self._sort, start=self._start, wanted=self._wanted
        )

    def close(self) -> None:
        """Remove the widget from every page; nothing is sent once this has returned."""
        if hasattr(self, "_pace"):  # not when __init__ refused its arguments
            self.rest()
            self._advising.close()
            self._pace.close()
        if self.comm is not None and self.layout is not None:
            self.layout.close()  # a widget of its own, which ipywidgets would keep
        super().close()

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        self.follow()
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is None:
            return None
        data, metadata = bundle
        html = self.cache.to_html(self._advice)
        return {**data, "text/html": html, "text/plain": self.cache.to_text()}, metadata

    def _ipython_display_(self) -> None:
        """Show the widget, and a table of the same that is seen only where the widget can't be.

        A page that knows of widgets shows nothing else of an output that has one, even when there is no
        kernel and no saved state to draw it from. So the table is an output of its own.
        """
        bundle = self._repr_mimebundle_()
        if bundle is None:
            return
        data, metadata = bundle
        table = static_html(data.pop("text/html"), self._id)
        text = data.pop("text/plain")
        display(data | {"text/plain": repr(self)}, metadata=metadata, raw=True)
        display({"text/html": table, "text/plain": text}, raw=True)

    def __repr__(self) -> str:
        return f"CacheView({self.cache!r})"

    # Towards the page ---------------------------------------------------------------------------

    def _notice(self, event: Event) -> None:
        self._happened.append(event)
        if event.kind == "resize":
            self._advice = ""  # it was about other bounds
        if event.kind in (*LOOKUPS, "put", "resize"):
            self._advising.nudge()
        self._pace.nudge()

    def _advise(self) -> None:
        latest = advice(self.cache)
        if latest != self._advice:
            self._advice = latest
            self._pace.nudge()

    def _tell(self) -> None:
        view, pictures = self._look()
        with self.hold_sync():
            self.view = view
            if pictures:
                self.pictures = pictures

    def _look(self) -> tuple[dict[str, Any], dict[str, Any]]:
        happened = []
        while self._happened:
            happened.append(self._happened.popleft())
        view, entries = snapshot(
            self.cache,
            self._names,
            sort=self._sort,
            start=self._start,
            wanted=self._wanted,
            now=self.cache.now(),
        )
        self._history.add(self.cache.info())
        self._messages += 1
        view["widget"] = self._id
        view["message"] = self._messages
        view["news"] = news(happened, self._names)
        view["advice"] = self._advice
        view["history"] = self._history.rows()
        view["history_seconds"] = History.seconds
        urls = self._new_pictures(entries)
        return view, {"message": self._messages, "urls": urls} if urls else {}

    def _new_pictures(self, entries: Iterable[Entry]) -> dict[str, str]:
        """The pictures of those entries that no page has got yet."""
        if self._resend:
            self._resend = False
            self._sent.clear()
        fresh = {}
        for entry in entries:
            name = self._names.name(entry.key)
            if name not in self._sent and (picture := self._thumbnails.url(entry)):
                fresh[name] = picture
                self._sent[name] = True
        return fresh

    # From the page ------------------------------------------------------------------------------

    def _hear(self, _widget: Any, content: Any, _buffers: Any) -> None:
        """Do what a page asks; whatever else it sends is ignored."""
        if not isinstance(content, dict):
            return
        action, ids = content.get("do"), content.get("ids")
        keys = [key for name in (ids if isinstance(ids, list) else []) if (key := self._names.key(name))]
        if action in ("shown", "hidden"):
            self._appear(str(content.get("page")), shown=action == "shown")
        elif action == "picture":
            self._show_large(keys)
        elif action == "select":
            self.selected = keys
        else:
            self._change(action, keys, content)
            self._pace.nudge()

    def _change(self, action: Any, keys: list[Key], content: dict[str, Any]) -> None:
        """Change the cache, or what is shown of it."""
        if action in _EACH:
            for key in keys:
                getattr(self.cache, _EACH[action])(key)
        elif action == "clear":
            self.cache.clear()
        elif action == "sort" and content.get("by") in SORTS:
            self._sort, self._start = content["by"], None
        elif action == "window":
            start = content.get("start")
            self._start = start if type(start) is int and start >= 0 else None
        elif action == "filter":
            self._wanted, self._start = Filter.of(content), None
        elif action == "pictures":
            self._resend = True  # a page that came later has none of them

    def _show_large(self, keys: list[Key]) -> None:
        """Send the large picture of an entry to the pages, which take it if they still want it."""
        entry = self.cache.entry(keys[0]) if keys else None
        if entry is not None:
            url, said = self._thumbnails.large(entry)
            self.send({"picture": self._names.name(entry.key), "url": url, "said": said})

    def _appear(self, page: str, *, shown: bool) -> None:
        if shown:
            self._pages.add(page)
            self.follow()
            return
        self._pages.discard(page)
        if not self._pages:
            self.rest()
            if cells.is_replaced(self):
                self.close()


def refresh_views() -> None:
    """Let every view that follows its cache look again: a pin, for one, is no event."""
    for view in list(_following):
        view.refresh()
