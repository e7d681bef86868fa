"""Inkling: squares of an image, each a token of its own; its language model convolves beside attending."""

from __future__ import annotations

from mlx_vlm.models.inkling import Model, ModelConfig
from mlx_vlm.models.inkling.config import AudioConfig, TextConfig, VisionConfig
from mlx_vlm.models.inkling.processing_inkling import (
    AUDIO_TOKEN,
    IMAGE_TOKEN,
    InklingImageProcessor,
    InklingProcessor,
)

from zoo import Tiny, byte_tokenizer, textured

PATCH = 20


def build() -> Tiny:
    tokenizer = byte_tokenizer(IMAGE_TOKEN, AUDIO_TOKEN)
    text = TextConfig(
        hidden_size=32,
        num_hidden_layers=2,
        vocab_size=len(tokenizer),
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        swa_num_attention_heads=2,
        swa_num_key_value_heads=1,
        swa_head_dim=16,
        sliding_window_size=64,
        layer_types=["hybrid_sliding", "hybrid_full"],
        d_rel=4,
        rel_extent=64,
        mlp_layer_types=["dense", "sparse"],
        intermediate_size=64,
        dense_intermediate_size=64,
        n_routed_experts=4,
        num_experts_per_tok=2,
        n_shared_experts=1,
        route_scale=1.0,
    )
    config = ModelConfig(
        text_config=text,
        vision_config=VisionConfig(patch_size=PATCH, n_layers=2),
        audio_config=AudioConfig(n_mel_bins=8),
        image_token_id=tokenizer.convert_tokens_to_ids(IMAGE_TOKEN),
        audio_token_id=tokenizer.convert_tokens_to_ids(AUDIO_TOKEN),
        vocab_size=len(tokenizer),
    )
    processor = InklingProcessor(InklingImageProcessor(patch_size=PATCH), tokenizer)
    return Tiny(textured(Model(config)), processor, prompt)


def prompt(n: int) -> str:
    return f"{IMAGE_TOKEN}\n" * n + "What differs?"
