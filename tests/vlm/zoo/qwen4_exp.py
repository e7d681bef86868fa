"""Qwen4-Exp: Qwen3.5's way to embed, before hyper-connections, experts and sparse attention."""

from __future__ import annotations

from mlx_vlm.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor
from mlx_vlm.models.qwen4_exp import Model, ModelConfig, TextConfig, VisionConfig

from zoo import Tiny, textured
from zoo.qwen import TEXT, VISION, image_processor, prompt, tokens, video_processor
from zoo.qwen3_5 import PATCH, SPECIFIC


def build() -> Tiny:
    tokenizer, ids = tokens()
    alike = {name: value for name, value in TEXT.items() if name not in SPECIFIC}
    text = TextConfig(
        model_type="qwen4_exp",
        vocab_size=len(tokenizer),
        head_dim=16,
        linear_num_value_heads=2,
        linear_num_key_heads=2,
        linear_key_head_dim=16,
        linear_value_head_dim=16,
        linear_conv_kernel_dim=4,
        num_experts=4,
        num_experts_per_tok=2,
        shared_expert_intermediate_size=32,
        moe_intermediate_size=32,
        hc_count=2,
        hc_lowrank=8,
        full_attention_interval=2,
        indexer_n_heads=2,
        indexer_head_dim=16,
        indexer_budget=64,
        rope_parameters={
            "type": "default",
            "mrope_section": [2, 1, 1],
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.5,
        },
        **alike,
    )
    vision = VisionConfig(
        **VISION,
        patch_size=PATCH,
        intermediate_size=64,
        out_hidden_size=48,
        num_position_embeddings=64,
        deepstack_visual_indexes=[],
    )
    config = ModelConfig(
        text_config=text, vision_config=vision, model_type="qwen4_exp", vocab_size=len(tokenizer), **ids
    )
    processor = Qwen3VLProcessor(
        image_processor=image_processor(PATCH), tokenizer=tokenizer, video_processor=video_processor(PATCH)
    )
    return Tiny(textured(Model(config)), processor, prompt)
