"""MiniMax M3: packed patches with a grid, projected before two by two are merged."""

from __future__ import annotations

from mlx_vlm.models.minimax_m3_vl import (
    MiniMaxM3VLImageProcessor,
    MiniMaxM3VLProcessor,
    MiniMaxM3VLVideoProcessor,
    Model,
    ModelConfig,
    TextConfig,
    VisionConfig,
)

from zoo import Tiny, byte_tokenizer, textured

PATCH = 8


def build() -> Tiny:
    tokenizer = byte_tokenizer(
        MiniMaxM3VLProcessor.IMAGE_TOKEN,
        MiniMaxM3VLProcessor.VIDEO_TOKEN,
        MiniMaxM3VLProcessor.VISION_START_TOKEN,
        MiniMaxM3VLProcessor.VISION_END_TOKEN,
    )
    few = {"min_pixels": 32 * 32, "max_pixels": 64 * 64, "min_short_side_pixel": 16}
    images = MiniMaxM3VLImageProcessor(patch_size=PATCH, **few)
    videos = MiniMaxM3VLVideoProcessor(patch_size=PATCH, **few)
    processor = MiniMaxM3VLProcessor(images, tokenizer, videos)
    text = TextConfig(
        hidden_size=32,
        intermediate_size=32,
        dense_intermediate_size=64,
        shared_intermediate_size=32,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        num_hidden_layers=2,
        vocab_size=len(tokenizer),
        num_local_experts=4,
        num_experts_per_tok=2,
        moe_layer_freq=[0, 1],
    )
    vision = VisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_attention_heads=2,
        num_hidden_layers=2,
        image_size=64,
        patch_size=PATCH,
        projection_dim=32,
    )
    config = ModelConfig(
        text_config=text,
        vision_config=vision,
        image_token_index=processor.image_token_id,
        video_token_index=processor.video_token_id,
        vision_start_token_id=processor.vision_start_token_id,
        vision_end_token_id=processor.vision_end_token_id,
        projector_hidden_size=48,
        vocab_size=len(tokenizer),
    )
    return Tiny(textured(Model(config), gain=4.0), processor, prompt)


def prompt(n: int) -> str:
    return MiniMaxM3VLProcessor.IMAGE_TOKEN * n + "What differs?"
