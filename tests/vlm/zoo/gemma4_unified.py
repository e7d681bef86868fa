"""Gemma 4 unified: no vision tower; patches and their positions, padded to one length."""

from __future__ import annotations

from mlx_vlm.models.gemma4_unified import Model, ModelConfig, TextConfig, VisionConfig
from mlx_vlm.models.gemma4_unified.processing_gemma4_unified import (
    Gemma4UnifiedImageProcessor,
    Gemma4UnifiedProcessor,
    Gemma4UnifiedVideoProcessor,
)

from zoo import Tiny, byte_tokenizer, textured

PATCH, POOL, TOKENS = 4, 3, 12


def build() -> Tiny:
    tokenizer = byte_tokenizer(
        "<|image|>",
        "<|image>",
        "<image|>",
        "<|audio|>",
        "<|video|>",
        extra_special_tokens={
            "image_token": "<|image|>",
            "boi_token": "<|image>",
            "eoi_token": "<image|>",
            "video_token": "<|video|>",
        },
    )
    ids = tokenizer.convert_tokens_to_ids
    text = TextConfig(
        hidden_size=32,
        num_hidden_layers=2,
        intermediate_size=64,
        num_attention_heads=2,
        head_dim=16,
        global_head_dim=16,
        vocab_size=len(tokenizer),
        vocab_size_per_layer_input=len(tokenizer),
        num_key_value_heads=1,
        sliding_window=64,
        sliding_window_pattern=2,
        pad_token_id=tokenizer.pad_token_id,
    )
    vision = VisionConfig(
        patch_size=PATCH,
        pooling_kernel_size=POOL,
        model_patch_size=PATCH * POOL,
        mm_embed_dim=32,
        mm_posemb_size=32,
        num_soft_tokens=TOKENS,
        output_proj_dims=32,
    )
    config = ModelConfig(
        text_config=text,
        vision_config=vision,
        audio_config=None,
        vocab_size=len(tokenizer),
        image_token_id=ids("<|image|>"),
        audio_token_id=ids("<|audio|>"),
        video_token_id=ids("<|video|>"),
        boi_token_id=ids("<|image>"),
        eoi_token_id=ids("<image|>"),
        hidden_size=text.hidden_size,
        pad_token_id=tokenizer.pad_token_id,
        vision_soft_tokens_per_image=TOKENS,
    )
    processor = Gemma4UnifiedProcessor(
        Gemma4UnifiedImageProcessor(patch_size=PATCH, pooling_kernel_size=POOL, max_soft_tokens=TOKENS),
        tokenizer,
        Gemma4UnifiedVideoProcessor(patch_size=PATCH, pooling_kernel_size=POOL),
        image_seq_length=TOKENS,
    )
    return Tiny(textured(Model(config)), processor, prompt)


def prompt(n: int) -> str:
    return "<|image|>" * n + "What differs?"
