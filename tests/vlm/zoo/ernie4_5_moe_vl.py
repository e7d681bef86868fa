"""ERNIE 4.5 VL: packed patches with a grid, resampled; experts of their own for picture tokens."""

from __future__ import annotations

from mlx_vlm.models.ernie4_5_moe_vl import Model, ModelConfig, TextConfig, VisionConfig
from mlx_vlm.models.ernie4_5_moe_vl.processing_ernie4_5_moe_vl import (
    Ernie4_5_VLProcessor,
    ImageProcessor,
)

from zoo import Tiny, byte_tokenizer, textured

PATCH = 8


def build() -> Tiny:
    tokenizer = byte_tokenizer(
        "<|IMAGE_PLACEHOLDER|>",
        "<|IMAGE_START|>",
        "<|IMAGE_END|>",
        "<|VIDEO_START|>",
        "<|VIDEO_END|>",
        "<|image@placeholder|>",
    )
    ids = tokenizer.convert_tokens_to_ids
    text = TextConfig(
        hidden_size=32,
        intermediate_size=64,
        num_attention_heads=2,
        num_key_value_heads=1,
        num_hidden_layers=2,
        vocab_size=len(tokenizer),
        moe_num_experts=[4, 4],
        moe_layer_start_index=[1, 1],
        moe_layer_end_index=[1, 1],
        moe_intermediate_size=[32, 16],
        moe_num_shared_experts=1,
        mrope_section=[3, 3, 2],
        freq_allocation=2,
    )
    vision = VisionConfig(depth=2, embed_dim=32, hidden_size=32, mlp_ratio=2.0, num_heads=2, patch_size=PATCH)
    config = ModelConfig(
        text_config=text,
        vision_config=vision,
        im_patch_id=ids("<|IMAGE_PLACEHOLDER|>"),
        video_token_id=ids("<|IMAGE_PLACEHOLDER|>"),
        vision_token_id=ids("<|IMAGE_PLACEHOLDER|>"),
        image_start_token_id=ids("<|IMAGE_START|>"),
        image_end_token_id=ids("<|IMAGE_END|>"),
        video_start_token_id=ids("<|VIDEO_START|>"),
        video_end_token_id=ids("<|VIDEO_END|>"),
        vocab_size=len(tokenizer),
        pixel_hidden_size=32,
        hidden_size=32,
        freq_allocation=2,
    )
    images = ImageProcessor(patch_size=PATCH, min_pixels=16 * 16, max_pixels=64 * 64)
    return Tiny(textured(Model(config)), Ernie4_5_VLProcessor(images, tokenizer), prompt)


def prompt(n: int) -> str:
    return "Picture: <|IMAGE_START|><|image@placeholder|><|IMAGE_END|>" * n + "What differs?"
