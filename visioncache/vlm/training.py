"""Training mode: tell whether a vision side trains, so that nothing of it may be kept."""

from __future__ import annotations

import sys
from itertools import compress
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from mlx import nn
from mlx.utils import tree_flatten

from visioncache.vlm.scope.code import lasts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from visioncache.vlm.fingerprint import Fingerprint


TRAINS = "the model is in training mode, which model.eval() ends"
"""The reason why nothing is looked up or kept then."""
_MODE = attrgetter("_training")
"""A module's mode; its property `training` takes five times as long, and hundreds are asked in a request."""


class TrainingMode:
    """The training mode of every module of a vision side.

    MLX begins every module in training mode, also one that takes the place of another in a model that
    was set to `eval()`: an adapter, a quantised layer. Such a module is not taken for one that
    somebody set to `train()`.
    """

    def __init__(self, fingerprint: Fingerprint) -> None:
        self._fingerprint = fingerprint
        self._modules: list[nn.Module] = []
        self._before: list[bool] = []

    @property
    def state(self) -> str:
        """Name the modules in training mode that may show it: features that they make are others'."""
        modules = enumerate(self._fingerprint.modules())
        named = [str(n) for n, module in modules if module.training and _may_read_mode(type(module))]
        return f"/training {','.join(named)}" if named else ""

    def is_on(self) -> bool:
        """Tell whether any module is in training mode because somebody set it."""
        modules = self._fingerprint.modules()
        if modules is not self._modules:
            self._modules, self._before = modules, [module.training for module in modules]
        trains = compress(zip(modules, self._before, strict=True), map(_MODE, modules))
        return any(not before or _was_set(module) for module, before in trains)


def is_for_training() -> bool:
    """Tell whether mlx-vlm's trainer calls: it stacks pixels of several rows, so tickets are of no use."""
    frame: Any = sys._getframe(1)  # noqa: SLF001
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith("mlx_vlm.trainer."):
            return True
        frame = frame.f_back
    return False


def _was_set(module: nn.Module) -> bool:
    """Tell whether `train()` was called on a module that nobody saw in another mode, or it shows its mode."""
    if any(_reads_mode(type(module))):
        return True
    inner = [child for name, child in tree_flatten(module.children(), is_leaf=_is_module) if name]
    if inner:
        return all(child.training for child in inner)
    is_quantised = isinstance(module, (nn.QuantizedLinear, nn.QuantizedEmbedding))
    return bool(module.parameters()) and not is_quantised


def _may_read_mode(kind: type) -> bool:
    return not lasts(kind) or any(_reads_mode(kind))


def _is_module(value: object) -> bool:
    return hasattr(value, "training")


def _reads_mode(kind: type) -> Iterator[bool]:
    for base in kind.__mro__[: kind.__mro__.index(nn.Module)]:
        for function in vars(base).values():
            names = function.__code__.co_names if hasattr(function, "__code__") else ()
            yield bool({"training", "_training"} & set(names))
