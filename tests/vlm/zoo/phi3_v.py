"""Phi-3.5-Vision: tiles of 336 pixels and an overview; negative token ids say where images go.

mlx-vlm fixes the tower's size, but not in its code: here it is few and narrow layers over the same patches.
"""

from __future__ import annotations

from types import SimpleNamespace

import mlx.core as mx
from mlx import nn
from mlx_vlm.models.phi3_v import Model, ModelConfig
from mlx_vlm.models.phi3_v.processing_phi3_v import Phi3VImageProcessor, Phi3VProcessor
from mlx_vlm.models.phi3_v.vision import ClipVModel

from zoo import Batch, Tiny, byte_tokenizer, textured

WIDTH = 32

BATCH = Batch(error="doesn't match number of images", generate_error="doesn't match number of images")


def build() -> Tiny:
    tokenizer = byte_tokenizer()
    config = ModelConfig(
        vocab_size=len(tokenizer),
        num_hidden_layers=2,
        intermediate_size=64,
        num_attention_heads=2,
        num_key_value_heads=1,
        hidden_size=32,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = Model(config)
    tower = model.model.vision_embed_tokens
    small = {"hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 1}
    tower.img_processor = ClipVModel(
        SimpleNamespace(**{**vars(tower.CLIP_VIT_LARGE_PATCH14_336_CONFIG), **small})
    )
    tower.image_dim_out = WIDTH
    tower.glb_GN = mx.zeros([1, 1, WIDTH * 4])
    tower.sub_GN = mx.zeros([1, 1, 1, WIDTH * 4])
    tower.img_projection[0] = nn.Linear(WIDTH * 4, config.hidden_size)
    return Tiny(textured(model), Phi3VProcessor(Phi3VImageProcessor(num_crops=2), tokenizer), prompt)


def prompt(n: int) -> str:
    return "".join(f"<|image_{i + 1}|>\n" for i in range(n)) + "What differs?"
