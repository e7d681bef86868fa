"""Recall: what is stored beside features, so that a known image's inputs need no pixel.

Of what only the vision side reads, the shape and dtype; of everything else that an image processor
returned, the value, as JSON holds it.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np

from visioncache.vlm.request.standin import stand_in


def describe(outputs: dict[str, Any], pixels: tuple[str, ...]) -> dict[str, Any]:
    """What `recall` needs."""
    return {
        "pixels": {name: _shapes(outputs[name]) for name in pixels},
        "inputs": {name: _plain(value) for name, value in outputs.items() if name not in pixels},
    }


def recall(meta: dict[str, Any], digest: str, *, as_numpy: bool) -> dict[str, Any]:
    """An image processor's outputs for a known image, with stand-ins that spell its digest."""
    pixels = {name: _stand_ins(shapes, digest, as_numpy) for name, shapes in meta["pixels"].items()}
    return {**pixels, **{name: _value(stored) for name, stored in meta["inputs"].items()}}


def dtype_of(value: Any) -> str | None:
    """The name of an array's dtype; None for what is no array."""
    return str(value.dtype).removeprefix("mlx.core.") if hasattr(value, "dtype") else None


def _shapes(pixels: Any) -> Any:
    if isinstance(pixels, (list, tuple)):
        return {"list": [_shapes(item) for item in pixels]}
    return [list(pixels.shape), dtype_of(pixels)]


def _stand_ins(shapes: Any, digest: str, as_numpy: bool) -> Any:
    if isinstance(shapes, dict):
        return [_stand_ins(item, digest, as_numpy) for item in shapes["list"]]
    shape, dtype = shapes
    # Of doubles mlx makes floats, and no GPU of its knows any.
    array = stand_in(shape, "float32" if dtype == "float64" else dtype, digest)
    return np.array(array).astype(dtype, copy=False) if as_numpy else array


def _plain(value: Any) -> Any:
    """Arrays, and lists and tuples of them, with what is needed to make them again."""
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
