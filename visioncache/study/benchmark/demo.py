"""The demo model: a small Qwen2.5-VL that ships with the project and really sees what it was taught."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from visioncache.study.data import data_path

if TYPE_CHECKING:
    from pathlib import Path


def demo_model_path() -> Path:
    """The folder that `mlx_vlm.load` reads; what the model knows stands in its README.md."""
    return data_path("models", "demo-vlm")


def load_model(name: str | None = None) -> tuple[Any, Any]:
    """A model and its processor: the demo model (None or "demo"), or any that `mlx_vlm.load` finds.

    On the CPU, where MLX's half precision crawls, weights are cast to float32, and laid out for the BLAS
    of MLX's wheel, which multiplies by a matrix that lies transposed at half its speed.

    Raises:
        ValueError: there is no such model, or it can't be loaded.
    """
    import mlx.core as mx
    import mlx_vlm
    from mlx import nn

    if name == "demo":
        name = None
    if name is None:
        # Nothing of the demo model is anywhere else, so nothing is asked of the network.
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        model, processor = mlx_vlm.load(str(name or demo_model_path()))[:2]
    except Exception as error:
        first = str(error).strip().partition("\n")[0]
        raise ValueError(f"no model {str(name or demo_model_path())!r} could be loaded: {first}") from error
    if mx.default_device().type == mx.DeviceType.cpu:
        model.set_dtype(mx.float32)
        for layer in model.modules():
            if isinstance(layer, nn.Linear):
                layer.weight = mx.contiguous(layer.weight.T).T
        mx.eval(model.parameters())
    return model, processor
