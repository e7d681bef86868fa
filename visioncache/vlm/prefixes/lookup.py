"""Lookup: segments in a VisionFeatureCache, found from the beginning of a prompt on and kept behind it."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from visioncache.cache import VisionFeatureCache
from visioncache.sizes import count, format_size
from visioncache.vlm.prefixes.boundaries import SHORTEST
from visioncache.vlm.prefixes.scope import Scope
from visioncache.vlm.prefixes.segments import taken
from visioncache.vlm.trees import outline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from visioncache.keys import Key
    from visioncache.vlm.prefixes.boundaries import Pauses
    from visioncache.vlm.prefixes.segments import Value
    from visioncache.vlm.prefixes.spelling import Shown, Spelling


@dataclass(frozen=True)
class PrefixTotals:
    """Prompts and tokens, counted."""

    prompts: int = 0
    tokens: int = 0
    """Of all prompts."""
    reused: int = 0
    """Of these, tokens that were not prefilled."""
    kept: int = 0
    """Tokens whose keys and values were stored."""

    def since(self, earlier: PrefixTotals) -> PrefixTotals:
        """Count what came after `earlier`."""
        return PrefixTotals(*(getattr(self, n) - getattr(earlier, n) for n in PrefixTotals.__annotations__))


@dataclass
class Segment:
    """One stretch of a prompt: where it lies, its key, and what it adds to the caches, where known."""

    begin: int
    end: int
    key: Key
    images: list[str] = field(default_factory=list)
    value: Value | None = None
    specs: list[Any] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        """How many tokens it has."""
        return self.end - self.begin

    @property
    def label(self) -> str:
        """Name it for people, by its tokens and images."""
        shown = f", {count(len(self.images), 'image')}" if self.images else ""
        return f"tokens {self.begin:,} to {self.end:,}{shown}"


class Prefixes:
    """Where the segments of a model's prompts are kept.

    Args:
        cache: what they are kept in, alone or beside features.
        model: the model, with every weight that decides keys and values.
        pauses: "content" pauses at the ends of images and turns too; "steps" only where mlx-vlm does,
            which reuses whole steps (2,048 tokens) alone and computes to the last bit as without prefixes.
        shortest: the fewest tokens between two pauses by content; four times as many where all is text.
    """

    def __init__(
        self,
        cache: VisionFeatureCache,
        model: Any,
        *,
        pauses: Pauses = "content",
        shortest: int = SHORTEST,
    ) -> None:
        if pauses not in ("content", "steps"):
            raise ValueError(f"pauses={pauses!r}: prefill pauses by 'content' or by 'steps'")
        self.cache = cache
        self.pauses = pauses
        self.shortest = shortest
        self.refused = ""
        """Why the latest prompt was prefilled as without prefixes; empty where it was not."""
        self._scope = Scope(model, lasting=cache.is_stored)
        self._lock = threading.Lock()
        self._totals = PrefixTotals()
        self._held: dict[str, int] = {}
        self._thread = threading.local()

    @classmethod
    def of(
        cls, given: VisionFeatureCache | Prefixes | float | str, model: Any, *, pauses: Pauses
    ) -> Prefixes:
        """Make what `attach` is given into what keeps prefixes; ValueError for what is no size."""
        if isinstance(given, Prefixes):
            own = given._scope.is_of(model)  # noqa: SLF001
            return given if own else cls(given.cache, model, pauses=given.pauses, shortest=given.shortest)
        cache = given if isinstance(given, VisionFeatureCache) else VisionFeatureCache(None, given)
        return cls(cache, model, pauses=pauses)

    @property
    def scope(self) -> str:
        """Name what keys hold besides the prompt: the model, all of it, and where it runs."""
        return self._scope.text

    @property
    def refusal(self) -> str:
        """Why nothing of the model may be kept now; empty where it may."""
        return self._scope.refusal

    def totals(self) -> PrefixTotals:
        """Return what has been counted until now."""
        with self._lock:
            return self._totals

    def count(self, **more: int) -> None:
        """Add to the totals."""
        with self._lock:
            self._totals = replace(self._totals, **{n: getattr(self._totals, n) + v for n, v in more.items()})

    # The images of a prompt, which are known where it is embedded ---------------------------------

    @contextmanager
    def embedding(self) -> Iterator[list[Shown]]:
        """Collect, inside the block, the images of the prompt that this thread embeds."""
        outer = getattr(self._thread, "shown", None)
        self._thread.shown = []
        try:
            yield self._thread.shown
        finally:
            self._thread.shown = outer

    def show(self, images: Sequence[Shown]) -> None:
        """Say which images were put into the prompt that this thread embeds."""
        shown = getattr(self._thread, "shown", None)
        if shown is not None:
            shown.extend(images)

    # Segments -------------------------------------------------------------------------------------

    def segments(self, spelling: Spelling, pauses: Sequence[int], settings: str) -> list[Segment]:
        """Name the stretches of a prompt between its pauses, for the model as `refusal` has just seen it."""
        parent, begin, found = settings, 0, []
        scope = f"{self._scope.last}/prefix"
        for end in pauses:
            key = spelling.key(parent, begin, end).scoped(scope)
            images = [image.text for image, _, _ in spelling.images_in(begin, end)]
            found.append(Segment(begin, end, key, images))
            parent, begin = key.text, end
        return found

    def find(self, segments: Sequence[Segment], held: list[Segment]) -> list[Segment]:
        """Find the first segments that are known, without a gap; `held` has those to `release` later."""
        known = []
        for segment in segments:
            found = self.cache._get_with_meta(segment.key)  # noqa: SLF001
            if found is None:
                break
            value, meta = found
            if meta is None or meta.get("kind") != "prefix" or meta.get("outline") != outline(value):
                self.cache.pop(segment.key)
                break
            segment.value, segment.specs = value, list(meta["layers"])
            held.append(segment)
            self._hold(segment.key)
            known.append(segment)
        return known

    def fill(self, segment: Segment, prefill: Callable[[], Sequence[Any]], held: list[Segment]) -> bool:
        """Keep what `prefill` adds to the caches that it returns; another thread may have done so first.

        Args:
            segment: the stretch that is prefilled.
            prefill: calls the language model, and returns its caches.
            held: gets the segment, to `release` it later, if it is held.

        Returns:
            Whether the segment is held now; its `value` is set where it was another thread's.
        """
        meta: dict[str, Any] = {
            "kind": "prefix",
            "tokens": segment.tokens,
            "begin": segment.begin,
            "images": segment.images,
        }
        own = []

        def compute() -> Value:
            caches = prefill()
            value, specs = taken(caches, segment.begin, segment.end)
            meta.update(layers=specs, outline=outline(value))
            own.append(True)
            return value

        self.cache._fill(segment.key, compute, label=segment.label, meta=meta)  # noqa: SLF001
        if not own:
            return bool(self.find([segment], held))
        is_kept = segment.key in self.cache
        if is_kept:
            held.append(segment)
            self._hold(segment.key)
            self.count(kept=segment.tokens)
        return is_kept

    def release(self, segments: Sequence[Segment]) -> None:
        """Hold segments no longer. What comes before is more recent than what comes behind it.

        So the leaves of the tree of prompts are evicted first, and no segment is left that nothing leads to.
        """
        for segment in segments:
            with self._lock:
                times = self._held.get(segment.key.text, 0) - 1
                if times > 0:
                    self._held[segment.key.text] = times
                elif self._held.pop(segment.key.text, None) is not None:
                    self.cache.unpin(segment.key)
        self.cache.refresh(segment.key for segment in reversed(segments))

    def _hold(self, key: Key) -> None:
        """Let nothing evict a segment while its prompt is prefilled, unless somebody pinned it anyway."""
        with self._lock:
            if key.text in self._held:
                self._held[key.text] += 1
                return
            entry = self.cache.entry(key)
            if entry is not None and not entry.pinned:
                self._held[key.text] = 1
                if not self.cache.pin(key):
                    del self._held[key.text]

    def __repr__(self) -> str:
        totals = self.totals()
        share = f", {totals.reused / totals.tokens:.0%} of tokens reused" if totals.tokens else ""
        return f"Prefixes({count(totals.prompts, 'prompt')}{share}, {format_size(self.cache.nbytes)} held)"
