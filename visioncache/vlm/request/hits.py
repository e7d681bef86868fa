"""Hits: find an image in the cache, check what is found, and give back its inputs without a pixel.

Stored beside the features are, of each array that only the vision side reads, the shape and dtype;
of everything else that an image processor returned, the value, as JSON holds it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np

from visioncache.sizes import dtype_of
from visioncache.vlm.request.stand_in import stand_in
from visioncache.vlm.trees import outline, token_count

if TYPE_CHECKING:
    from collections.abc import Callable

    from visioncache.cache import VisionFeatureCache
    from visioncache.vlm.families.layouts import Layout
    from visioncache.vlm.request.tickets import Item


def find(cache: VisionFeatureCache, item: Item) -> None:
    """Fill in an item that the cache knows; a value that is not what was stored is dropped."""
    found = cache._get_with_meta(item.key)  # noqa: SLF001
    if found is None:
        return
    value, meta = found
    if meta is None or meta.get("features") != outline(value):
        cache.pop(item.key)
        return
    item.features, item.meta = value, dict(meta)


def encoded(cache: VisionFeatureCache, item: Item, encode: Callable[[Item], Any]) -> Any:
    """Return the value of an item: held, or encoded once, however many threads need it, and stored."""
    if item.features is None:

        def compute() -> Any:
            value = encode(item)
            item.meta |= {"features": outline(value), "tokens": token_count(value)}
            return value

        item.features = cache._fill(item.key, compute, label=item.label, meta=item.meta, seconds=item.seconds)  # noqa: SLF001
        item.inputs = {}
    return item.features


def describe(outputs: dict[str, Any], layout: Layout) -> dict[str, Any]:
    """Describe an image processor's outputs for `recall`; only the vision side reads the layout's pixels."""
    pixels, spoilt = layout.pixels, (layout.pixels[0], *layout.indices)
    return {
        "pixels": {name: _shapes(outputs[name], name in spoilt) for name in pixels if name in outputs},
        "inputs": {name: _plain(value) for name, value in outputs.items() if name not in pixels},
    }


def recall(meta: dict[str, Any], digest: str, *, as_numpy: bool) -> dict[str, Any]:
    """Return an image processor's outputs for a known image, with stand-ins that spell its digest."""
    return {
        **stand_ins(meta, digest, as_numpy=as_numpy),
        **{name: _value(stored) for name, stored in meta["inputs"].items()},
    }


def stand_ins(meta: dict[str, Any], digest: str, *, as_numpy: bool) -> dict[str, Any]:
    """Return stand-ins for the arrays that only the vision side reads."""
    return {name: _stand_ins(shapes, digest, as_numpy) for name, shapes in meta["pixels"].items()}


def _shapes(pixels: Any, spoilt: bool) -> Any:
    if isinstance(pixels, (list, tuple)):
        return {"list": [_shapes(item, spoilt) for item in pixels]}
    # Integers know no NaN: floats stand in for pixels of integers, and for places, which no float is.
    integers = spoilt and not str(dtype_of(pixels)).startswith(("float", "bfloat"))
    return [list(pixels.shape), "float32" if integers else dtype_of(pixels)]


def _stand_ins(shapes: Any, digest: str, as_numpy: bool) -> Any:
    if isinstance(shapes, dict):
        return [_stand_ins(item, digest, as_numpy) for item in shapes["list"]]
    shape, dtype = shapes
    return stand_in(shape, dtype, digest, as_numpy=as_numpy)


def _plain(value: Any) -> Any:
    """Return arrays, and lists and tuples of them, with what is needed to make them again."""
    if isinstance(value, (list, tuple)):
        return {type(value).__name__: [_plain(item) for item in value]}
    if hasattr(value, "dtype"):
        return {"array": value.tolist(), "dtype": dtype_of(value), "mlx": isinstance(value, mx.array)}
    return value


def _value(stored: Any) -> Any:
    if not isinstance(stored, dict):
        return stored
    if "array" in stored:
        array = np.array(stored["array"], dtype=stored["dtype"])
        return mx.array(array) if stored["mlx"] else array
    if "tuple" in stored:
        return tuple(_value(item) for item in stored["tuple"])
    return [_value(item) for item in stored["list"]]
