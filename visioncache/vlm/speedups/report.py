"""Report: which speedups an attachment uses, and why the others are off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from visioncache.memory import on_gpu
from visioncache.vlm.patching.instances import resolve
from visioncache.vlm.speedups.patches import convolved
from visioncache.vlm.speedups.placeholders import FEW, PlaceholderSide
from visioncache.vlm.speedups.positions import counted
from visioncache.vlm.speedups.qwen_pixels import CLASS as QWEN
from visioncache.vlm.speedups.qwen_pixels import QwenPixels
from visioncache.vlm.speedups.scatter import NAME as SCATTER
from visioncache.vlm.speedups.scatter import slow_scatters
from visioncache.vlm.speedups.windows import windowed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from visioncache.vlm.attach import Attached


_UNPROVEN = "this version of the family isn't proven"


@dataclass(frozen=True)
class Speedup:
    """A stage that is taken over from mlx-vlm, or why it is not."""

    name: str
    """Such as `decode`, `placeholders` or `device pixels`."""
    on: bool
    reason: str = ""
    """Why it is off, or on what condition it is on."""

    def __str__(self) -> str:
        return f"{self.name} {'on' if self.on else 'off'}{': ' * bool(self.reason)}{self.reason}"


@dataclass(frozen=True)
class Speedups:
    """The speedups of an attachment, by name: `speedups["scatter"].on`."""

    each: tuple[Speedup, ...]

    def __getitem__(self, name: str) -> Speedup:
        found = next((one for one in self.each if one.name == name), None)
        if found is None:
            raise KeyError(f"no speedup {name!r}; there are: {', '.join(one.name for one in self.each)}")
        return found

    def __iter__(self) -> Iterator[Speedup]:
        return iter(self.each)

    def __len__(self) -> int:
        return len(self.each)

    @property
    def on(self) -> list[str]:
        """Names of those in use."""
        return [one.name for one in self.each if one.on]

    def __str__(self) -> str:
        return "\n".join(map(str, self.each))

    def __repr__(self) -> str:
        off = [f"{one.name} ({one.reason})" for one in self.each if not one.on]
        return f"Speedups(on: {', '.join(self.on) or 'none'}; off: {', '.join(off) or 'none'})"


def survey(attached: Attached) -> Speedups:
    """Ask each stage of an attachment whether it is taken over, and why not."""
    apart = "" if attached.processor is not None else "the processor is not attached: pixels come prepared"
    stages = [Speedup(name, on=not apart, reason=apart) for name in ("decode", "preprocess")]
    others = (_placeholders, _scatter, _positions, _device_pixels, _patches, _windows)
    return Speedups((*stages, *(ask(attached) for ask in others)))


def _embedder(attached: Attached) -> Any:
    return resolve(attached.model, attached.family.embedder)


def _placeholders(attached: Attached) -> Speedup:
    side = next((one for one in attached.sides if isinstance(one, PlaceholderSide)), None)
    if side is None:
        return Speedup("placeholders", on=False, reason="no tokenizer with an image token of its own")
    if side.exact is False:
        return Speedup("placeholders", on=False, reason="its tokenizer makes other tokens of a shortened run")
    unseen = "" if side.exact else f"compared at the first run of {FEW} placeholders or more"
    return Speedup("placeholders", on=True, reason=unseen)


def _scatter(attached: Attached) -> Speedup:
    found = any(slow_scatters(_embedder(attached)))
    reason = "" if found else f"this family has no `{SCATTER}` that is known to be slow"
    return Speedup("scatter", on=found, reason=reason)


def _positions(attached: Attached) -> Speedup:
    if not attached.trust.proven:
        return Speedup("positions", on=False, reason=_UNPROVEN)
    on = counted(_embedder(attached)) is not None
    reason = "compared at the first prompt with images of each size"
    return Speedup("positions", on=on, reason=reason if on else "this family counts no positions in lists")


def _patches(attached: Attached) -> Speedup:
    if convolved(_embedder(attached)) is None:
        return Speedup("patches", on=False, reason="its tower convolves no patches that are cut already")
    if on_gpu():
        return Speedup("patches", on=False, reason="mlx computes on a GPU, which no CPU's bits speak for")
    return Speedup("patches", on=True, reason="compared at the first image")


def _windows(attached: Attached) -> Speedup:
    on = windowed(attached.model) is not None
    reason = "compared at the first image of each size" if on else "its tower attends to no windows"
    return Speedup("windows", on=on, reason=reason)


def _device_pixels(attached: Attached) -> Speedup:
    name = "device pixels"
    if attached.processor_side is None:
        return Speedup(name, on=False, reason="the processor is not attached: pixels come prepared")
    if not attached.trust.proven:
        return Speedup(name, on=False, reason=_UNPROVEN)
    if QwenPixels.of(attached.processor_side.image_processor) is None:
        return Speedup(name, on=False, reason=f"its image processor is not mlx-vlm's {QWEN}")
    return Speedup(name, on=True)
