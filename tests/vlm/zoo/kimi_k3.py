"""Kimi K3: packed patches with a grid of three axes, each image encoded by itself; a hybrid decoder."""

from __future__ import annotations

from mlx_vlm.models.kimi_k3 import Model, ModelConfig, TextConfig, VisionConfig
from mlx_vlm.models.kimi_k3.processing_kimi_k3 import KimiK3ImageProcessor, KimiK3Processor

from zoo import Tiny, byte_tokenizer, textured

PATCH = 8


def build() -> Tiny:
    tokenizer = byte_tokenizer(
        "<|media_begin|>", "<|media_content|>", "<|media_pad|>", "<|media_end|>", "<|kimi_image_placeholder|>"
    )
    text = TextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        intermediate_size=64,
        linear_attn_config={"num_heads": 2, "head_dim": 16, "short_conv_kernel_size": 4, "kda_layers": [1]},
        kv_lora_rank=16,
        qk_nope_head_dim=8,
        qk_rope_head_dim=8,
        v_head_dim=16,
        num_experts=4,
        num_experts_per_token=2,
        num_shared_experts=1,
        moe_intermediate_size=32,
        first_k_dense_replace=1,
    )
    vision = VisionConfig(
        patch_size=PATCH,
        init_pos_emb_height=8,
        init_pos_emb_width=8,
        vt_num_attention_heads=2,
        vt_num_hidden_layers=2,
        vt_hidden_size=32,
        vt_intermediate_size=64,
        qkv_hidden_size=48,
        mm_hidden_size=32,
        text_hidden_size=32,
    )
    config = ModelConfig(
        text_config=text,
        vision_config=vision,
        vocab_size=len(tokenizer),
        media_placeholder_token_id=tokenizer.convert_tokens_to_ids("<|media_pad|>"),
    )
    images = KimiK3ImageProcessor(patch_size=PATCH, in_patch_limit=40)
    return Tiny(textured(Model(config), gain=4.0), KimiK3Processor(images, tokenizer), prompt)


def prompt(n: int) -> str:
    return "<|kimi_image_placeholder|>" * n + "What differs?"
