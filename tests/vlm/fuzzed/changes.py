"""Change a side between two questions."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import zoo
from mlx import nn
from mlx.utils import tree_flatten, tree_map
from twins import looking, outcome

from visioncache.sizes import leaves

if TYPE_CHECKING:
    from fuzzed.side import Side


def setting(side: Side, name: str, value: Any) -> None:
    target = getattr(side.tiny.processor, "image_processor", side.tiny.processor)
    if hasattr(target, name):
        setattr(target, name, copy.copy(value))


def scale_weights(side: Side, gain: float) -> None:
    for module in side.vision():
        module.update(
            tree_map(lambda w: w * gain if mx.issubdtype(w.dtype, mx.floating) else w, module.parameters())
        )


def load_weights(side: Side, seed: int) -> None:
    other = zoo.build(side.family, seed).model
    outcome(lambda: side.tiny.model.load_weights(tree_flatten(other.parameters()), strict=False))


def quantise(side: Side) -> None:
    def fits(path: str, module: Any) -> bool:
        if "language_model" in path:
            return False
        able = hasattr(module, "to_quantized") and getattr(module, "weight", mx.zeros(1)).ndim == 2
        return able and module.weight.shape[-1] % 32 == 0

    outcome(lambda: nn.quantize(side.tiny.model, group_size=32, bits=8, class_predicate=fits))


def train(side: Side, which: str, mode: bool) -> None:
    modules = (
        [side.tiny.model] if which == "all" else side.vision()[:1] if which == "first" else side.vision()[-1:]
    )
    for module in modules:
        module.train(mode)


def replace_part(side: Side, how: str) -> None:
    """The same part of another model, or a copy of it, in the place of a part of the vision side."""
    other = zoo.build(side.family, 1).model if how == "another's" else None
    for name in looking(side.tiny.model):
        own = getattr(side.tiny.model, name)
        put = getattr(other, name) if other is not None else outcome(lambda own=own: copy.deepcopy(own))
        if not isinstance(put, Exception):
            setattr(side.tiny.model, name, put)


def replace_image_processor(side: Side) -> None:
    processor = side.tiny.processor
    if hasattr(processor, "image_processor"):
        copied = outcome(lambda: copy.deepcopy(processor.image_processor))
        if not isinstance(copied, Exception):
            processor.image_processor = copied


def attach_again(side: Side) -> None:
    side.detach()
    side.attach()


def press(side: Side, how: str) -> None:
    """Cache pressure: the twin has none."""
    if side.cache is None:
        return
    if how == "clear":
        side.cache.clear()
    elif how == "one entry":
        side.cache.resize(max_size=1)
    elif how == "few bytes":
        side.cache.resize(max_bytes=3000)
    elif how == "room":
        side.cache.resize(max_size=20, max_bytes=None)
    elif side.cache.keys():
        side.cache.pop(side.cache.keys()[0])


def swap_values(side: Side) -> None:
    """Put another entry's value under a key, as a damaged store would, if its shape gives it away."""
    keys = [] if side.cache is None else side.cache.keys()
    if len(keys) > 1:
        one, other = (side.cache.peek(key) for key in keys[:2])
        shapes = [[a.shape for a in leaves(value)] for value in (one, other)]
        if shapes[0] != shapes[1]:
            side.cache.put(keys[0], other)
