"""Patches: on the CPU, a tower's convolution of patches that are cut already is one product of matrices.

The processors of the Qwens and their kin cut a picture into patches, and their towers convolve each with
kernels of its own size. MLX's `conv3d` copies every patch once more before it multiplies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mlx.core as mx
from mlx import nn

from visioncache.memory import on_gpu
from visioncache.recent import Recent
from visioncache.vlm.patching.functions import untaken
from visioncache.vlm.patching.instances import class_of
from visioncache.vlm.request.seam import Seam
from visioncache.vlm.scope.code import is_genuine

if TYPE_CHECKING:
    from collections.abc import Callable

_PATCHES = 5
"""Axes of patches: patch, frames, rows, columns, channels."""

_same: Recent[tuple[Any, ...], bool] = Recent(256)
"""By all that decides which code multiplies: whether both ways give the same bits."""


def convolved(model: Any) -> type | None:
    """Return the class of the layer that a model's patches go through; None where it has no such layer."""
    code = getattr(untaken(nn.Conv3d.__call__), "__code__", None)
    is_known = code is not None and is_genuine(code, "mlx")
    return nn.Conv3d if is_known and nn.Conv3d in map(class_of, model.modules()) else None


def project(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Convolve patches as `original` would.

    The first patches of each size of kernel are convolved both ways; should bits differ, all are left to MLX.

    Args:
        original: the bound `__call__` of a `Conv3d`.
        args: the patches, float32 `[patches, frames, rows, columns, channels]`.
        kwargs: nothing that is known.
    """
    layer: Any = getattr(original, "__self__", None)
    if kwargs or len(args) != 1 or not Seam.is_encoding() or on_gpu() or not _is_cut(layer, args[0]):
        return original(*args, **kwargs)
    patches = args[0]
    pattern = getattr(original, "__func__", None), mx.conv3d, mx.matmul, layer.weight.shape, "bias" in layer
    if pattern in _same:
        return _multiplied(layer, patches) if _same.get(pattern) else original(patches)
    theirs = original(patches)
    _same[pattern] = bool(mx.array_equal(_multiplied(layer, patches), theirs).item())
    return theirs


def _is_cut(layer: Any, patches: Any) -> bool:
    """Tell whether a layer's kernel is as large as each patch; one patch alone is another product."""
    weight = getattr(layer, "weight", None)
    return (
        isinstance(weight, mx.array)
        and isinstance(patches, mx.array)
        and patches.ndim == weight.ndim == _PATCHES
        and patches.dtype == weight.dtype == mx.float32
        and patches.shape[1:] == weight.shape[1:]
        and len(patches) > 1
        and (*layer.padding, layer.dilation) == (0, 0, 0, 1)
    )


def _multiplied(layer: Any, patches: mx.array) -> mx.array:
    weight = layer.weight.reshape(len(layer.weight), -1)
    product = mx.matmul(patches.reshape(len(patches), -1), weight.T)
    product = product.reshape(len(patches), 1, 1, 1, -1)
    return product + layer.bias if "bias" in layer else product
