"""A side of the comparison: a model that is attached, or its twin that is not."""

from __future__ import annotations

import importlib
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlx_vlm.utils import prepare_inputs
from twins import looking

from fuzzed.images import Shown, open_door
from visioncache import VisionFeatureCache
from visioncache.vlm import attach
from visioncache.vlm.prefixes import Prefixes

if TYPE_CHECKING:
    from pathlib import Path

    import zoo


@dataclass
class Side:
    """A model and its processor, with a cache or, as the twin, without one."""

    tiny: zoo.Tiny
    cache: VisionFeatureCache | None
    folder: Path
    with_processor: bool
    prefix_bytes: int | None = None
    kept: dict[Shown, Any] = field(default_factory=dict)
    attached: Any = None
    prefixes: Prefixes | None = None

    def __post_init__(self) -> None:
        self.family = type(self.tiny.model).__module__.split(".")[-2]
        self.attach()

    def attach(self) -> None:
        if self.cache is not None and (self.attached is None or not self.attached.is_attached):
            processor = self.tiny.processor if self.with_processor else None
            self.attached = attach(self.tiny.model, processor, self.cache, prefixes=self._prefixes())

    def _prefixes(self) -> Prefixes | None:
        """Keep prefixes by mlx-vlm's own steps, so that every bit is the twin's; the same ones all along."""
        if self.prefixes is None and self.prefix_bytes is not None:
            cache = VisionFeatureCache(None, self.prefix_bytes)
            self.prefixes = Prefixes(cache, self.tiny.model, pauses="steps")
        return self.prefixes

    @property
    def reused(self) -> int:
        """Count the tokens that were not prefilled."""
        return 0 if self.prefixes is None else self.prefixes.totals().reused

    def detach(self) -> None:
        if self.attached is not None:
            self.attached.detach()

    def aside(self, how: str) -> Any:
        return nullcontext() if self.attached is None or not how else getattr(self.attached, how)()

    def prepare(
        self, images: tuple[Shown, ...], options: dict[str, Any], processor: Any = None
    ) -> dict[str, Any]:
        opened = [open_door(shown, self.folder, self.kept) for shown in images]
        module = importlib.import_module(f"zoo.{self.family}")
        if self.tiny.processor is None:
            return module.inputs(opened, self.tiny.prompt(len(opened)))
        inputs = prepare_inputs(
            processor or self.tiny.processor,
            images=opened or None,
            prompts=self.tiny.prompt(len(opened)),
            image_token_index=getattr(self.tiny.model.config, "image_token_index", None),
            add_special_tokens=False,
            **options,
        )
        return module.complete(inputs) if hasattr(module, "complete") else inputs

    def vision(self) -> list[Any]:
        """The modules of the vision side."""
        return [m for c in looking(self.tiny.model).values() for m in (c if isinstance(c, list) else [c])]
