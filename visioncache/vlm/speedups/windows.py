"""Windows: Qwen2.5-VL's tower attends to all windows of one size in one call, not window by window.

A page of 2048x1536 has 270 windows, and 28 layers look at each alone: 7,600 calls of a kernel that could
take them together. The same bits arrive in 100 calls.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import mlx.core as mx
import numpy as np

from visioncache.recent import Recent
from visioncache.vlm.patching.instances import class_of
from visioncache.vlm.request.seam import Seam

if TYPE_CHECKING:
    from collections.abc import Callable

_MODULE, CLASS = "mlx_vlm.models.qwen2_5_vl.vision", "Attention"
_ROTATION = "apply_rotary_pos_emb_vision"
_PARTS = ("qkv", "proj", "num_heads", "scale")


class _Plan(NamedTuple):
    """In which order the rows of a picture are attended to."""

    order: mx.array
    """Rows `[patches]`, those of windows of one size together."""
    back: mx.array
    """Where each row lies in `order`."""
    groups: list[tuple[int, int]]
    """Number of windows and patches in each, for every size."""


_plans: Recent[tuple[Any, ...], _Plan | None] = Recent(256)
"""By all that decides which kernels run; None where they give other bits than mlx-vlm's own calls."""


def windowed(model: Any) -> type | None:
    """Return the class of a model's windowed attention; None where it has none that is known."""
    known = getattr(sys.modules.get(_MODULE), CLASS, None)
    blocks = getattr(getattr(model, "vision_tower", None), "blocks", None) or [None]
    attention = getattr(blocks[0], "attn", None)
    is_known = known is not None and class_of(attention) is known
    return known if is_known and all(hasattr(attention, name) for name in _PARTS) else None


def attend(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Attend to the windows of an image, as `original` would.

    The first layer that meets windows of these sizes attends both ways; should bits differ, pictures of
    such windows are left to mlx-vlm.

    Args:
        original: the bound `__call__` of the layer's attention.
        args: the patches `[patches, size]`.
        kwargs: `cu_seqlens` `[windows + 1]`, where each window begins, and `rotary_pos_emb` `[patches, ...]`.
    """
    if not Seam.is_encoding() or len(args) != 1 or kwargs.keys() != {"cu_seqlens", "rotary_pos_emb"}:
        return original(*args, **kwargs)
    x, rotation = args[0], kwargs["rotary_pos_emb"]
    layer = getattr(original, "__self__", None)
    sizes = tuple(np.diff(np.array(kwargs["cu_seqlens"])).tolist())
    if layer is None or len(sizes) - sizes.count(0) < 2 or sum(sizes) != len(x):  # noqa: PLR2004
        return original(*args, **kwargs)
    qkv = layer.qkv(x).reshape(len(x), 3, layer.num_heads, -1)
    called = (getattr(original, "__func__", None), _rotation(), mx.fast.scaled_dot_product_attention)
    pattern = (*called, mx.default_device().type, sizes, qkv.shape, qkv.dtype, rotation.dtype, layer.scale)
    if pattern in _plans:
        plan = _plans.get(pattern)
        return original(x, **kwargs) if plan is None else _together(layer, qkv, rotation, plan)
    theirs, plan = original(x, **kwargs), _planned(sizes)
    same = mx.array_equal(_together(layer, qkv, rotation, plan), theirs).item()
    _plans[pattern] = plan if same else None
    return theirs


def _planned(sizes: tuple[int, ...]) -> _Plan:
    ends = np.cumsum(sizes)
    windows: dict[int, list[np.ndarray]] = {}
    for size, end in zip(sizes, ends.tolist(), strict=True):
        windows.setdefault(size, []).append(np.arange(end - size, end))
    windows.pop(0, None)
    order = np.concatenate([rows for group in windows.values() for rows in group])
    plan = _Plan(
        mx.array(order, mx.uint32),
        mx.array(np.argsort(order), mx.uint32),
        [(len(group), size) for size, group in windows.items()],
    )
    mx.eval(plan.order, plan.back)
    return plan


def _together(layer: Any, qkv: mx.array, rotation: mx.array, plan: _Plan) -> mx.array:
    """Return what the layer gives `[patches, size]` for `qkv` `[patches, 3, heads, size]`."""
    rotate = _rotation()
    ordered, rotation = qkv[plan.order], rotation[plan.order]
    queries, keys = (rotate(ordered[:, n][None], rotation)[0] for n in range(2))
    outputs, at = [], 0
    for count, size in plan.groups:
        rows = slice(at, at + count * size)
        q, k, v = (
            part[rows].reshape(count, size, layer.num_heads, -1).transpose(0, 2, 1, 3)
            for part in (queries, keys, ordered[:, 2])
        )
        output = mx.fast.scaled_dot_product_attention(q, k, v, scale=layer.scale, mask=None)
        outputs.append(output.transpose(0, 2, 1, 3).reshape(count * size, -1))
        at += count * size
    attended: mx.array = layer.proj(mx.concatenate(outputs, axis=0)[plan.back])
    return attended


def _rotation() -> Callable[[mx.array, mx.array], mx.array]:
    rotate: Callable[[mx.array, mx.array], mx.array] = getattr(sys.modules[_MODULE], _ROTATION)
    return rotate
