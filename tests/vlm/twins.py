"""Play a scene on a model with a cache and on an identical twin without, and compare what they answer."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import zoo
from harness import arrays, embedded, prepared, same

from visioncache import VisionFeatureCache
from visioncache.vlm import attach

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

VARIED = ["gemma3", "idefics3", "llava", "minicpmo", "mistral3", "qwen2_5_vl", "qwen3_vl"]
"""Families of many layouts: squares, tiles, slices, packed patches; with thumbnails, masks, DeepStack."""


class Scene:
    """A tiny model, its processor and the photos, attached to a cache or, as the twin, to none."""

    def __init__(self, tiny: zoo.Tiny, cache: VisionFeatureCache | None, *, with_processor: bool) -> None:
        self.tiny = tiny
        self.model = tiny.model
        self.processor = tiny.processor
        self.cache = cache
        self.with_processor = with_processor
        self.attached: Any = None
        self.attach()

    def attach(self) -> None:
        """Attach the model; nothing for the twin."""
        if self.cache is not None:
            self.attached = attach(self.model, self.processor if self.with_processor else None, self.cache)

    def detach(self) -> None:
        """Detach the model; nothing for the twin."""
        if self.attached is not None:
            self.attached.detach()

    def bypass(self) -> AbstractContextManager[None]:
        """Bypass the cache inside the block; nothing for the twin."""
        return nullcontext() if self.attached is None else self.attached.bypass()

    def suspended(self) -> AbstractContextManager[None]:
        """Detach inside the block; nothing for the twin."""
        return nullcontext() if self.attached is None else self.attached.suspended()

    def using(self, model: Any = None, processor: Any = None) -> zoo.Tiny:
        """The tiny model with another model or processor in the place of its own."""
        return replace(self.tiny, model=model or self.model, processor=processor or self.processor)

    def prepare(self, *images: Any, processor: Any = None) -> dict[str, Any]:
        """Turn a question about images into inputs."""
        return prepared(self.using(processor=processor), list(images))

    def embed(self, inputs: dict[str, Any], model: Any = None) -> Any:
        """Run the model up to what its language model is given; the error, if it raises one."""
        return outcome(lambda: embedded(self.using(model), dict(inputs)))

    def ask(self, *images: Any, model: Any = None, processor: Any = None) -> Any:
        """Prepare and embed a question about images; the error, if one is raised."""
        tiny = self.using(model, processor)
        return outcome(lambda: embedded(tiny, prepared(tiny, list(images))))

    def encodes(self) -> int:
        """Count the images that were encoded since the model was attached."""
        return 0 if self.attached is None else self.attached.stages.totals().counts["tower"]


def outcome(call: Callable[[], Any]) -> Any:
    """The value of a call, or the exception that it raised."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001  # whatever it is, it is compared with the twin's
        return error


def played(
    family: str, play: Callable[[Scene], list[Any]], *, with_processor: bool = True
) -> tuple[list[Any], list[Any]]:
    """Play on a model without a cache, and on its attached twin; return both answers."""
    plain = play(Scene(zoo.build(family), None, with_processor=with_processor))
    scene = Scene(zoo.build(family), VisionFeatureCache(), with_processor=with_processor)
    try:
        return plain, play(scene)
    finally:
        scene.detach()


def assert_alike(
    family: str,
    play: Callable[[Scene], list[Any]],
    *,
    refusals: bool = False,
    nans: bool = False,
    with_processor: bool = True,
) -> list[Any]:
    """Play on both; each answer is the twin's, bit for bit, or an error where the twin raises that type.

    With `refusals`, one clear line is as good as the answer; with `nans`, so is NaN. Returns the twin's.
    """
    plain, ours = played(family, play, with_processor=with_processor)
    assert len(plain) == len(ours)
    wrong = [
        f"answer {n}: {shown(got)} where the twin's is {shown(want)}"
        for n, (want, got) in enumerate(zip(plain, ours, strict=True))
        if not (right(got, want) or (refusals and refused(got)) or (nans and has_nan(got)))
    ]
    assert not wrong, "; ".join(wrong)
    return plain


def right(got: Any, want: Any) -> bool:
    """Tell whether an answer is the twin's: the same bits, or an error of the same type."""
    if isinstance(want, Exception):
        return type(got) is type(want)
    return not isinstance(got, Exception) and same(got, want)


def refused(got: Any) -> bool:
    """Tell whether an answer is one clear line of an error."""
    return isinstance(got, (ValueError, RuntimeError, TypeError)) and "\n" not in str(got) and bool(str(got))


def has_nan(tree: Any) -> bool:
    """Tell whether a NaN is anywhere in an answer."""
    floats = [a for a in arrays(tree) if mx.issubdtype(a.dtype, mx.floating)]
    return any(bool(mx.isnan(a).any().item()) for a in floats)


def shown(value: Any) -> str:
    """An answer in a few words, for a failure."""
    if isinstance(value, Exception):
        return f"{type(value).__name__}: {str(value)[:160]}"
    if isinstance(value, list):
        return f"[{', '.join(map(shown, value))}]"
    held = list(arrays(value))
    if not held:
        return repr(value)[:160]
    if has_nan(held):
        return "arrays with NaN"
    return f"arrays summing to {sum(abs(a.astype(mx.float32)).sum().item() for a in held):.6g}"


def looking(model: Any) -> dict[str, Any]:
    """The model's children on the vision side: all but its language model."""
    return {name: child for name, child in model.children().items() if name != "language_model"}
