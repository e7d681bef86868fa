"""Moondream 3: a whole view and crops, folded into the same 729 tokens, one image a prompt.

mlx-vlm's processor fixes the size of a patch and the number of tokens; here the layers are few and narrow.
"""

from __future__ import annotations

from mlx_vlm.models.moondream3 import Model, ModelConfig, TextConfig, VisionConfig
from mlx_vlm.models.moondream3.processing_moondream3 import Moondream3Processor

from zoo import Tiny, byte_tokenizer, textured

CROPS = 4


def build() -> Tiny:
    tokenizer = byte_tokenizer()
    text = TextConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        vocab_size=len(tokenizer),
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=16,
        rope_dim=8,
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=32,
        moe_start_layer=1,
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
    processor = Moondream3Processor(tokenizer, max_crops=CROPS)
    model = Model(ModelConfig(text_config=text, vision_config=vision))
    return Tiny(textured(model), processor, prompt, max_images=1)


def prompt(_: int) -> str:
    return "What differs?"
