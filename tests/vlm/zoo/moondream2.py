"""Moondream 2: a whole view and crops, folded into the same 729 tokens, as in Moondream 3."""

from __future__ import annotations

from mlx_vlm.models.moondream2 import Model, ModelConfig
from mlx_vlm.models.moondream2.config import TextConfig, VisionConfig
from mlx_vlm.models.moondream2.processing_moondream2 import Moondream2Processor

from zoo import Tiny, byte_tokenizer, textured
from zoo.moondream3 import CROPS, prompt


def build() -> Tiny:
    tokenizer = byte_tokenizer()
    text = TextConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        vocab_size=len(tokenizer),
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    vision = VisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=1,  # over all 729 patches of a crop
        max_crops=CROPS,
        proj_inner_dim=64,
        proj_out_dim=32,
    )
    model = Model(ModelConfig(text_config=text, vision_config=vision))
    return Tiny(textured(model), Moondream2Processor(tokenizer, max_crops=CROPS), prompt, max_images=1)
