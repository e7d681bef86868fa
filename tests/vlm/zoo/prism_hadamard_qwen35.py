"""Qwen3.5 with packed weights of two bits, one of them behind a rotation of what goes in."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import mlx.core as mx
from mlx_vlm.models import prism_hadamard_qwen35 as prism
from mlx_vlm.models.prism_hadamard_qwen35.prism_hadamard_qwen35 import HadamardQuantizedLinear

from zoo import Tiny, qwen3_5

WIDE = 512
PACKED = [
    {"path": f"model.layers.{layer}.mlp.down_proj", "block": block, "embedding": False, "dtype": "float16"}
    for layer, block in enumerate((0, WIDE))
]


def build() -> Tiny:
    packed = partial(
        prism.ModelConfig,
        quantization={"bits": 2, "group_size": 128, "mode": "affine"},
        modules=PACKED,
    )
    tiny = qwen3_5.build(SimpleNamespace(**{**vars(prism), "ModelConfig": packed}), intermediate_size=WIDE)
    modules = tiny.model.language_model.named_modules()
    for module in (one for _, one in modules if isinstance(one, HadamardQuantizedLinear)):
        dense = mx.random.normal((len(module.weight), WIDE)) * WIDE**-0.5
        names = ("weight", "scales", "biases")
        for name, value in zip(names, mx.quantize(dense, group_size=128, bits=2), strict=True):
            module[name] = value if name == "weight" else value.astype(mx.float16)
    return tiny
