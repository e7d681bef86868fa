"""Kimi-VL: MoonViT's patches of native resolution in one array, a grid of two axes beside them."""

from __future__ import annotations

from mlx_vlm.models.kimi_vl import Model, ModelConfig, TextConfig, VisionConfig
from mlx_vlm.models.kimi_vl.processing_kimi_vl import KimiVLImageProcessor, KimiVLProcessor

from zoo import Tiny, byte_tokenizer, textured

PATCH, SIDE = 8, 64


def build() -> Tiny:
    tokenizer = byte_tokenizer("<|media_start|>", "<|media_content|>", "<|media_pad|>", "<|media_end|>")
    text = TextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        moe_intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        kv_lora_rank=16,
        q_lora_rank=None,
        qk_rope_head_dim=8,
        v_head_dim=16,
        qk_nope_head_dim=8,
        n_shared_experts=1,
        n_routed_experts=4,
        topk_method="noaux_tc",
        n_group=1,
        topk_group=1,
        num_experts_per_tok=2,
        first_k_dense_replace=1,
    )
    vision = VisionConfig(
        depth=2,
        embed_dim=32,
        hidden_size=32,
        num_heads=2,
        patch_size=PATCH,
        intermediate_size=64,
        init_pos_emb_height=8,
        init_pos_emb_width=8,
        spatial_patch_size=PATCH,
    )
    config = ModelConfig(
        text_config=text,
        vision_config=vision,
        model_type="kimi_vl",
        vocab_size=len(tokenizer),
        media_placeholder_token_id=tokenizer.convert_tokens_to_ids("<|media_pad|>"),
    )
    images = KimiVLImageProcessor(patch_size=PATCH, in_token_limit=40)
    model = Model(config)
    rope = model.vision_tower.rope_pos_emb
    rope.max_height = rope.max_width = SIDE  # mlx-vlm makes a table of 512 x 512 for each image
    return Tiny(textured(model), KimiVLProcessor(images, tokenizer), prompt)


def prompt(n: int) -> str:
    return "<|media_start|>image<|media_content|><|media_pad|><|media_end|>" * n + "What differs?"
