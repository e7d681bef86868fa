"""Qwen3-VL MoE: Qwen3-VL's tower with DeepStack, before a mixture of experts."""

from __future__ import annotations

from mlx_vlm.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor
from mlx_vlm.models.qwen3_vl_moe import Model, ModelConfig, TextConfig, VisionConfig

from zoo import Tiny, textured
from zoo.qwen import TEXT, VISION, image_processor, prompt, tokens, video_processor

PATCH = 16


def build() -> Tiny:
    tokenizer, ids = tokens()
    config = ModelConfig(
        text_config=TextConfig(
            model_type="qwen3_vl_moe",
            vocab_size=len(tokenizer),
            head_dim=12,
            num_experts=4,
            num_experts_per_tok=2,
            decoder_sparse_step=1,
            mlp_only_layers=[],
            moe_intermediate_size=32,
            **TEXT,
        ),
        vision_config=VisionConfig(
            **VISION, patch_size=PATCH, intermediate_size=64, out_hidden_size=48,
            num_position_embeddings=64, deepstack_visual_indexes=[0, 1],
        ),
        model_type="qwen3_vl_moe",
        vocab_size=len(tokenizer),
        **ids,
    )  # fmt: skip
    processor = Qwen3VLProcessor(
        image_processor=image_processor(PATCH), tokenizer=tokenizer, video_processor=video_processor(PATCH)
    )
    return Tiny(textured(Model(config)), processor, prompt)
