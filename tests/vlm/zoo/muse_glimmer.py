"""Muse Glimmer: packed patches, windows of them in most of the tower's layers; a norm follows its projector."""

from __future__ import annotations

from mlx_vlm.models.muse_glimmer import Model, ModelConfig, TextConfig, VisionConfig
from mlx_vlm.models.muse_glimmer.processing_muse_glimmer import (
    MuseGlimmerImageProcessor,
    MuseGlimmerProcessor,
)

from zoo import Tiny, byte_tokenizer, textured

PATCH, MERGE, WINDOW = 8, 2, 4


def build() -> Tiny:
    tokenizer = byte_tokenizer("<|patch|>", "<|image_start|>", "<|image_end|>", "<|video|>")
    text = TextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        sliding_window=64,
    )
    vision = VisionConfig(
        patch_size=PATCH,
        merge_size=MERGE,
        pos_emb_height=WINDOW,
        pos_emb_width=WINDOW,
        hidden_size=32,
        intermediate_size=64,
        num_attention_heads=2,
        num_hidden_layers=2,
    )
    config = ModelConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=tokenizer.convert_tokens_to_ids("<|patch|>"),
        video_token_id=tokenizer.convert_tokens_to_ids("<|video|>"),
        out_hidden_size=vision.hidden_size * MERGE**2,
        projector_hidden_size=32,
    )
    images = MuseGlimmerImageProcessor(patch_size=PATCH, merge_size=MERGE, max_image_tokens=16)
    return Tiny(textured(Model(config)), MuseGlimmerProcessor(images, tokenizer), prompt)


def prompt(n: int) -> str:
    return "<|patch|>" * n + "What differs?"
