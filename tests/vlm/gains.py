"""A layer that multiplies features by a gain, which it reads from somewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlx import nn

if TYPE_CHECKING:
    from collections.abc import Callable

WHERE = {
    "gemma3": "multi_modal_projector",
    "idefics3": "connector",
    "llava": "multi_modal_projector",
    "mistral3": "multi_modal_projector",
    "qwen2_5_vl": "vision_tower.merger",
}
"""The module of a family that makes features last."""


class Gained(nn.Module):
    """A module that multiplies the output of another by the number that a function returns."""

    def __init__(self, inner: Any, gain: Callable[[], float]) -> None:
        super().__init__()
        self.inner, self.gain = inner, gain

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.inner(*args, **kwargs) * self.gain()


def put(model: Any, path: str, made: Callable[[Any], Any]) -> Any:
    """Put a module in the place of the one at a path."""
    *owners, name = path.split(".")
    for owner in owners:
        model = model[owner]
    setattr(model, name, made(model[name]).eval())
    return model[name]
