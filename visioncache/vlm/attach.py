"""attach: give an mlx-vlm model and its processor a cache, and take it away again."""

from __future__ import annotations

import warnings
from contextlib import ExitStack, contextmanager
from threading import RLock
from typing import TYPE_CHECKING, Any, Self

from mlx import nn

from visioncache.cache import VisionFeatureCache
from visioncache.vlm.families.recognise import family_of
from visioncache.vlm.families.trust import Trust
from visioncache.vlm.fingerprint import Fingerprint, versions
from visioncache.vlm.patching import mlx_vlm as hooks
from visioncache.vlm.patching.instances import is_patched
from visioncache.vlm.prefixes import Prefixes
from visioncache.vlm.request.model import ModelSide
from visioncache.vlm.request.processor import ProcessorSide
from visioncache.vlm.request.tickets import Tickets
from visioncache.vlm.scope.described import warn_once
from visioncache.vlm.speedups.placeholders import PlaceholderSide
from visioncache.vlm.speedups.report import survey
from visioncache.vlm.thumbnails import Thumbnails
from visioncache.vlm.timing import Stages
from visioncache.vlm.training import TRAINS, TrainingMode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from PIL import Image

    from visioncache.keys import Key
    from visioncache.vlm.prefixes.boundaries import Pauses
    from visioncache.vlm.scope.described import Described
    from visioncache.vlm.speedups.report import Speedups
    from visioncache.vlm.verify import Verification
    from visioncache.vlm.warming import Warmed


def attach(
    model: Any,
    processor: Any,
    cache: VisionFeatureCache | None = None,
    *,
    trust_urls: bool = False,
    prefixes: VisionFeatureCache | Prefixes | float | str | None = None,
    pauses: Pauses = "content",
) -> Attached:
    """Let a model look its images up in a cache, image by image, until `detach`.

    `mlx_vlm.generate`, `stream_generate` and the model itself are called as before. On a hit nothing is
    decoded, preprocessed or encoded; the language model receives the same bits as on the miss.

    Until `detach`, what the processor prepares is for this model: its pixels are stand-ins, and other code
    that reads them sees NaN. Other weights or settings, an adapter and a quantisation are noticed at the next
    request; so are weights that are written into (`layer.weight += delta`), but not on CUDA.

    Args:
        model: what `mlx_vlm.load` returned, or any model of a supported family; an unknown one of
            a known layout works too, with a warning, and is checked as it is used.
        processor: its processor; None when the caller prepares `pixel_values`, which are told by content
            then, so that only the vision side is skipped.
        cache: where the features go; a new one of 20 entries by default, `attached.cache`.
        trust_urls: take a URL for its content, so that a known one is not downloaded again.
        prefixes: keep keys and values of prompts too: bytes ("4 GiB"), a cache of their own, or `cache`.
        pauses: where a prompt can be continued: "content", at the ends of images and turns too; "steps",
            where mlx-vlm pauses by itself, so that answers are bit-identical to those without prefixes.

    Returns:
        The attachment: a context manager that detaches.

    Raises:
        TypeError: `model` is no `nn.Module` (are model and processor exchanged?), or `cache` no cache.
        ValueError: the model's family is not supported, or the processor, `prefixes` or `pauses` is wrong.
        RuntimeError: the model or the processor is attached already.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"model must be an mlx.nn.Module, got {type(model).__name__}; "
            "the order is attach(model, processor, cache)"
        )
    cache = VisionFeatureCache() if cache is None else cache
    if not isinstance(cache, VisionFeatureCache):
        raise TypeError(
            f"cache must be visioncache's own, got {type(cache).__module__}.{type(cache).__name__}; "
            "the order is attach(model, processor, cache)"
        )
    family = family_of(model)
    for what in (model, processor):
        if what is not None and is_patched(what):
            raise RuntimeError(f"this {type(what).__name__} is attached already; detach() it first")
    kept = None if prefixes is None else Prefixes.of(prefixes, model, pauses=pauses)
    attached = Attached(model, processor, cache, family, trust_urls=trust_urls, prefixes=kept)
    try:
        if kept is not None:
            _ = kept.scope  # looks at all of the model now, not while the first answer is waited for
        if note := family.recognised or attached.trust.note:
            warnings.warn(note, stacklevel=2)
    except BaseException:  # ^C, or a warning that a filter makes an error
        attached.detach()
        raise
    return attached


class Attached:
    """A model and its processor while they use a cache; `with` or `detach()` ends it."""

    def __init__(
        self,
        model: Any,
        processor: Any,
        cache: VisionFeatureCache,
        family: Any,
        *,
        trust_urls: bool,
        prefixes: Prefixes | None = None,
    ) -> None:
        self.cache = cache
        self.family = family
        self.trust_urls = trust_urls
        self.prefixes = prefixes
        """Keys and values of prompts, where they are kept."""
        self.stages = Stages()
        """Counts and seconds of key, decode, preprocess and tower since it was attached."""
        self.tickets = Tickets()
        self.thumbnails = Thumbnails.of(cache)
        self.model = model
        self.processor = processor
        self._fingerprint = Fingerprint(model, family.projector, family.vision)
        self._training = TrainingMode(self._fingerprint)
        self.trust = Trust(model, family, cache, lambda: self.described)
        """Decides which requests need no comparison with the model's own answer."""
        self._bypassed = 0
        self._suspended: list[bool] = []
        """For each block of `suspended` under way: was it attached as the block began?"""
        self._lock = RLock()
        looks_up = processor is not None and bool(family.preprocessor)
        self.processor_side = ProcessorSide(self, processor) if looks_up else None
        tokenizer = None if processor is None else PlaceholderSide.of(model, processor)
        sides = (ModelSide(self, model), self.processor_side, tokenizer)
        self.sides: list[Any] = [side for side in sides if side is not None]
        self.attach()

    def attach(self) -> None:
        """Attach again what was detached; doing it twice does no harm."""
        with self._lock, ExitStack() as undo:  # what goes wrong half-way leaves nothing attached
            if self.is_attached:
                return
            for side in self.sides:
                side.install(undo)
            undo.callback(hooks.remove, self)
            hooks.add(self)
            self._warn()
            self._undo = undo.pop_all()

    def _warn(self) -> None:
        if self._blocked:
            warn_once(self._blocked, "put an object of a class of its own there")

    @property
    def _blocked(self) -> str:
        """Say which part can't be followed, whatever it is made of; or ""."""
        return next((side.blocked for side in self.sides if getattr(side, "blocked", "")), "")

    @property
    def scope(self) -> str:
        """Name what keys hold besides the image: family, weights, versions."""
        _ = self._fingerprint.digest  # which looks at the model as it is now
        return self.last_scope

    @property
    def last_scope(self) -> str:
        """The same as of the last look at the model."""
        settings = [f"/{name}={getattr(self.model.config, name)}" for name in self.family.settings]
        digest = f"{self._fingerprint.last}{self._training.state}"
        return f"{self.family.name}/{digest}/{versions()}{''.join(settings)}"

    @property
    def speedups(self) -> Speedups:
        """Stages that are taken over from mlx-vlm, and why the others are not."""
        return survey(self)

    def verify(
        self,
        images: Sequence[Any] | None = None,
        prompts: Sequence[str] | None = None,
        *,
        max_tokens: int = 16,
    ) -> Verification:
        """See that the cache changes nothing on this machine; see `visioncache.vlm.verify.verify`."""
        from visioncache.vlm.verify import verify

        return verify(self, images, prompts, max_tokens=max_tokens)

    @property
    def is_attached(self) -> bool:
        """Tell whether it is attached now."""
        return self in hooks.current()

    @property
    def active(self) -> bool:
        """Tell whether images are looked up: not while bypassed, while the model trains, or if `opaque`."""
        return not (self._bypassed or self.opaque or self.trains())

    @property
    def opaque(self) -> str:
        """Name the part that can't be described or followed, so that nothing is cached; or ""."""
        return next((one.opaque for one in self.described if one.opaque), self._blocked)

    @property
    def described(self) -> list[Described]:
        """Describe all that decides features: the model and its processor."""
        return [self._fingerprint, *([self.processor_side.settings] if self.processor_side else [])]

    def running(self) -> AbstractContextManager[None]:
        """Take no write of the model to itself, inside this block, for a change by the user."""
        return self._fingerprint.running()

    def trains(self) -> bool:
        """Tell whether any module of the vision side is in training mode, or the model itself."""
        return self.model.training or self._training.is_on()

    def look(self) -> bool:
        """Go on with the model as it is now; return True, and do nothing, inside a transformation of MLX."""
        changed = self._fingerprint.changed()
        if changed and self._fingerprint.is_traced():
            return True
        for side in self.sides:
            side.follow()
        self._warn()
        if changed:  # asked once it is followed
            _ = self._fingerprint.digest
        return False

    def thumbnail(self, key: Key) -> Image.Image | None:
        """A picture of an image, at most 96 pixels wide and high, if it was decoded here."""
        return self.thumbnails.get(key)

    def warm(self, images: Any, prompt: str | None = None, *, progress: bool = True) -> Warmed:
        """Encode images that are not held yet, newest first, so that the first look at each is a hit.

        What the budget has no room for is refused rather than evicting newer ones, unless there is a store,
        which keeps them too. An unreadable file is reported and skipped; ^C keeps what was done.

        Args:
            images: paths, URLs, PIL images or arrays, or one of them.
            prompt: a question about all of them, in this order, that is prefilled too; only where
                prefixes are kept.
            progress: show a bar, on stderr or in a notebook.

        Raises:
            ValueError: the model is attached without its processor.
            RuntimeError: nothing is cached now.
        """
        from visioncache.vlm.warming import warm

        return warm(self, images, prompt, progress=progress)

    @contextmanager
    def bypass(self) -> Iterator[None]:
        """Work as if nothing were attached inside this block."""
        self._bypassed += 1
        try:
            yield
        finally:
            self._bypassed -= 1

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Detach inside this block; the end of the last such block attaches again."""
        with self._lock:
            self._suspended.append(self.is_attached)
            self._undo.close()
        try:
            yield
        finally:
            with self._lock:
                if self._suspended.pop():
                    self.attach()

    def detach(self) -> None:
        """Restore the model and the processor exactly; doing it twice does no harm."""
        with self._lock:
            self._suspended = [False] * len(self._suspended)
            self._undo.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()

    def __repr__(self) -> str:
        state = f"attached to {self.cache!r}" if self.is_attached else "detached"
        if self.is_attached and self.trains():
            state += f", unused: {TRAINS}"
        return f"Attached({self.family.name}, {state}, speedups: {', '.join(self.speedups.on) or 'none'})"
