"""Warming: encode images, and prefill the prompts that show them, before anybody asks."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlx_vlm
from mlx_vlm.prompt_utils import apply_chat_template
from mlx_vlm.utils import prepare_inputs, should_add_special_tokens

from visioncache.progress import tracked
from visioncache.sizes import count
from visioncache.vlm.request.lists import in_list
from visioncache.vlm.training import TRAINS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from visioncache.cache import VisionFeatureCache
    from visioncache.events import Event
    from visioncache.keys import Key
    from visioncache.vlm.attach import Attached


@dataclass
class Warmed:
    """List what became of each image, by the name that it was given by; newest first."""

    encoded: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    """Images that were known already."""
    refused: list[str] = field(default_factory=list)
    """Images that there is no room for; all are older than those that are held."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """Images that can't be read, each with the error."""
    interrupted: bool = False
    prefilled: int = 0
    """Tokens of the prompt whose keys and values were computed and kept."""

    def __str__(self) -> str:
        parts = [f"{len(self.encoded):,} encoded", f"{len(self.held):,} held already"]
        parts += [f"{len(self.refused):,} refused, the budget is full"] if self.refused else []
        parts += [f"{len(self.unreadable):,} unreadable"] if self.unreadable else []
        parts += [f"{count(self.prefilled, 'token')} prefilled"] if self.prefilled else []
        parts += ["interrupted"] if self.interrupted else []
        return "\n".join([", ".join(parts), *(f"{name}: {why}" for name, why in self.unreadable.items())])

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        printer.text(str(self))


def warm(attached: Attached, images: Any, prompt: str | None, *, progress: bool) -> Warmed:
    """Do what `Attached.warm` says."""
    if attached.processor is None:
        raise ValueError("warm() needs the processor: attach(model, processor, cache)")
    if reason := _idle(attached):
        raise RuntimeError(f"nothing is cached now, so nothing can be warmed: {reason}")
    images, done = in_list(images), Warmed()
    keys: list[Key] = []
    used = largest = 0
    cache = attached.cache
    try:
        for image in tracked(_newest_first(images), "image", show=progress):
            name, own = name_of(image), _Seen()
            full = not cache.is_stored and not _has_room(cache, len(keys), used + largest)
            if full:
                done.refused.append(name)
                continue
            unsubscribe = cache.subscribe(own)
            try:
                encode(attached, image)
            except (OSError, ValueError, TypeError, AttributeError) as error:  # the last: it is no image
                done.unreadable[name] = str(error).strip().partition("\n")[0]
                continue
            finally:
                unsubscribe()
            if own.rejected:
                done.refused.append(name)
            elif not own.keys:
                done.unreadable[name] = "it can't be identified, so nothing of it is kept"
            else:
                (done.encoded if own.put else done.held).append(name)
                used += own.nbytes
                largest = max(largest, own.nbytes)
                keys += own.keys
        if prompt is not None and attached.prefixes is not None:
            readable = [image for image in images if name_of(image) not in done.unreadable]
            done.prefilled = prefill(attached, [{"role": "user", "content": prompt}], readable)
    except KeyboardInterrupt:
        done.interrupted = True
    cache.refresh(reversed(keys))  # the newest are evicted last
    return done


def encode(attached: Attached, image: Any) -> None:
    """Put an image's features into the cache, as a question about it alone does."""
    model, processor = attached.model, attached.processor
    inputs = prepare_inputs(
        processor,
        images=[_opened(image)],
        prompts=apply_chat_template(processor, model.config, "", num_images=1),
        image_token_index=getattr(model.config, "image_token_index", None),
        add_special_tokens=should_add_special_tokens(model.config.model_type, processor),
    )
    ids, mask = inputs.pop("input_ids"), inputs.pop("attention_mask", None)
    model.get_input_embeddings(ids, inputs.pop("pixel_values", None), mask=mask, **inputs)


def prefill(attached: Attached, messages: list[dict[str, Any]], images: Sequence[Any]) -> int:
    """Keep the keys and values of a conversation; return how many tokens were prefilled for it."""
    prefixes, processor = attached.prefixes, attached.processor
    before = prefixes.totals() if prefixes is not None else None
    text = apply_chat_template(processor, attached.model.config, messages, num_images=len(images))
    shown = [_opened(image) for image in images] or None
    for _ in mlx_vlm.stream_generate(attached.model, processor, text, image=shown, max_tokens=0):
        pass
    return prefixes.totals().since(before).kept if prefixes is not None and before is not None else 0


class _Seen:
    """Collect the entries of one image from the cache's events."""

    def __init__(self) -> None:
        self.keys: list[Key] = []
        self.nbytes = 0
        self.put = self.rejected = False

    def __call__(self, event: Event) -> None:
        if event.key is not None and event.kind in ("put", "hit", "store-hit", "reject"):
            self.rejected |= event.kind == "reject"
            self.put |= event.kind == "put"
            if event.key not in self.keys:
                self.keys.append(event.key)
                self.nbytes += event.nbytes


def _idle(attached: Attached) -> str:
    """Say why images are not looked up now; empty where they are."""
    if not attached.is_attached:
        return "the model is detached, and attach() attaches it again"
    if attached.trains():
        return TRAINS
    return "" if attached.active else attached.opaque or "it is bypassed"


def _has_room(cache: VisionFeatureCache, entries: int, nbytes: int) -> bool:
    """Tell if a cache that holds so many entries and bytes has room for one entry more."""
    return (cache.max_size is None or entries < cache.max_size) and (
        cache.max_bytes is None or nbytes <= cache.max_bytes
    )


def _newest_first(images: Sequence[Any]) -> list[Any]:
    """Order images by when their files were last changed, the others by their places in the list."""

    def changed(item: tuple[int, Any]) -> tuple[float, int]:
        place, image = item
        try:
            return (Path(image).stat().st_mtime if isinstance(image, (str, Path)) else float("inf"), place)
        except OSError:
            return (float("-inf"), place)

    return [image for _, image in sorted(enumerate(images), key=changed, reverse=True)]


def name_of(image: Any) -> str:
    """Return the name that an image is reported by: its file's, where it has one."""
    return str(image) if isinstance(image, (str, Path)) else getattr(image, "filename", "") or repr(image)


def _opened(image: Any) -> Any:
    return str(image) if isinstance(image, Path) else image  # mlx-vlm opens a str, not a Path
