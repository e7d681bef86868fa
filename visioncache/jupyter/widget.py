"""CacheView: the widget that shows a cache while it works."""

from __future__ import annotations

import base64
import io
import weakref
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets

from visioncache.cache import VisionFeatureCache
from visioncache.events import LOOKUPS
from visioncache.jupyter import cells
from visioncache.jupyter.advice import advice
from visioncache.jupyter.pace import Pace
from visioncache.jupyter.snapshot import SORTS, History, Names, Sort, news, snapshot
from visioncache.keys import Key
from visioncache.recent import Recent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from visioncache.events import Event
    from visioncache.records import Entry

INTERVAL = 0.1
"""Seconds between two messages: at most ten a second."""

ADVICE_INTERVAL = 3.0
"""Seconds between two looks at how large the cache should be."""

THUMBNAIL_PX = 96
_STATIC = Path(__file__).parent / "static"
_following: weakref.WeakSet[CacheView] = weakref.WeakSet()


class CacheView(anywidget.AnyWidget):  # type: ignore[misc]  # anywidget is untyped here
    """A live view of a cache: entries as tiles as wide as their bytes, over a bar of the budget.

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
        self._history = History()
        self._happened: deque[Event] = deque(maxlen=1000)
        self._sort: Sort = "recency"
        self._start: int | None = None
        self._messages = 0
        self._pages: set[str] = set()
        self._subscription: weakref.finalize[Any, CacheView] | None = None
        self._thumbnails = Thumbnails(thumbnail or cells.thumbnails_of(held), images or {})
        self._sent: Recent[str, bool] = Recent(Names.capacity)
        self._resend = False
        self._pace = Pace(_weak(self, "_tell"), INTERVAL)
        self._advice = ""
        self._advising = Pace(_weak(self, "_advise"), ADVICE_INTERVAL)
        view, pictures = self._look()
        super().__init__(view=view, pictures=pictures)
        self.on_msg(_weak(self, "_hear"))
        cells.replace(self)

    @property
    def live(self) -> bool:
        """Whether it follows its cache now."""
        return self._subscription is not None

    @property
    def shown(self) -> bool:
        """Whether a page shows it, as far as pages have told."""
        return bool(self._pages)

    def follow(self) -> None:
        """Follow the cache; a page that shows the widget asks for it."""
        if self._subscription is None and not self._pace.closed:
            self._subscription = weakref.finalize(self, self.cache.subscribe(_weak(self, "_notice")))
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
        # Where no kernel runs and no widget state was saved, this is what people see.
        html = self.cache.to_html(self._advice)
        return {**data, "text/html": html, "text/plain": self.cache.to_text()}, metadata

    def __repr__(self) -> str:
        return f"CacheView({self.cache!r})"

    # Towards the page ---------------------------------------------------------------------------

    def _notice(self, event: Event) -> None:
        self._happened.append(event)
        if event.kind in LOOKUPS:
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
            self.cache, self._names, sort=self._sort, start=self._start, now=self.cache.now()
        )
        self._history.add(self.cache.info())
        self._messages += 1
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
        action, key = content.get("do"), self._names.key(content.get("id"))
        if action in ("shown", "hidden"):
            self._appear(str(content.get("page")), shown=action == "shown")
            return
        if action == "evict" and key is not None:
            self.cache.pop(key)
        elif action == "pin" and key is not None:
            self.cache.pin(key)
        elif action == "unpin" and key is not None:
            self.cache.unpin(key)
        elif action == "clear":
            self.cache.clear()
        elif action == "sort" and content.get("by") in SORTS:
            self._sort, self._start = content["by"], None
        elif action == "window":
            start = content.get("start")
            self._start = start if type(start) is int and start >= 0 else None
        elif action == "pictures":
            self._resend = True  # a page that came later has none of them
        self._pace.nudge()

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


class Thumbnails:
    """Data URLs of entries' pictures, each made once."""

    capacity = 1024

    def __init__(self, thumbnail: Callable[[Key], Any], images: Mapping[Any, Any]) -> None:
        self._thumbnail = thumbnail
        self._images = {(Key.of(source).text): image for source, image in images.items()}
        self._labels = {source: image for source, image in images.items() if isinstance(source, str)}
        self._urls: Recent[str, str] = Recent(self.capacity)

    def url(self, entry: Entry) -> str:
        """The picture of an entry as a data URL; "" when there is none (yet)."""
        text = entry.key.text
        known = self._urls.get(text)
        if known is None:
            image = self._thumbnail(entry.key)
            if image is None:
                image = self._images.get(entry.key.unscoped.text)
            if image is None:
                image = self._labels.get(entry.name)
            if image is None:
                return ""
            self._urls[text] = known = _data_url(image)
        return known


def _data_url(image: Any) -> str:
    """A picture, or the path of one, as a small JPEG (PNG where it is transparent); "" for neither."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    if not isinstance(image, Image.Image):
        try:
            with Image.open(image) as file:
                file.draft("RGB", (THUMBNAIL_PX, THUMBNAIL_PX))
                image = ImageOps.exif_transpose(file)
        except (OSError, TypeError, ValueError, UnidentifiedImageError):
            return ""
    small = image.copy()
    small.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    kind = "PNG" if small.has_transparency_data else "JPEG"
    data = io.BytesIO()
    small.convert("RGBA" if kind == "PNG" else "RGB").save(data, kind, quality=85)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(data.getvalue()).decode()}"


def _weak(owner: Any, method: str) -> Callable[..., None]:
    """A method of an object that it doesn't keep alive; nothing once the object is gone."""
    reference = weakref.ref(owner)

    def call(*args: Any) -> None:
        target = reference()
        if target is not None:
            getattr(target, method)(*args)

    return call
