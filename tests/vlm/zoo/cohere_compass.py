"""Cohere Compass: packed patches with a grid, and DeepStack features for the decoder."""

from __future__ import annotations

from mlx_vlm.models.cohere_compass import Model, ModelConfig, TextConfig, VisionConfig
from mlx_vlm.models.cohere_compass.processing_cohere_compass import (
    CohereCompassImageProcessor,
    CohereCompassProcessor,
)

from zoo import Tiny, byte_tokenizer, textured

PATCH = 8


def build() -> Tiny:
    tokenizer = byte_tokenizer("<|IMAGE_PAD|>", "<|VISION_START|>", "<|VISION_END|>")
    ids = tokenizer.convert_tokens_to_ids
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
    text = TextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        rope_parameters=rope,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    vision = VisionConfig(
        depth=3,
        hidden_size=32,
        intermediate_size=64,
        num_heads=2,
        patch_size=PATCH,
        out_hidden_size=32,
        num_position_embeddings=16,
        deepstack_visual_indexes=[0, 1],
    )
    config = ModelConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=ids("<|IMAGE_PAD|>"),
        vision_start_token_id=ids("<|VISION_START|>"),
        vision_end_token_id=ids("<|VISION_END|>"),
        pad_token_id=tokenizer.pad_token_id,
    )
    images = CohereCompassImageProcessor(patch_size=PATCH, min_pixels=16 * 16, max_pixels=64 * 64)
    return Tiny(textured(Model(config)), CohereCompassProcessor(images, tokenizer), prompt)


def prompt(n: int) -> str:
    return "<|VISION_START|><|IMAGE_PAD|><|VISION_END|>" * n + "What differs?"
