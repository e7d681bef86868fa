"""Aya Vision: square tiles of one size, a thumbnail last; tiles are rows of one batch."""

from __future__ import annotations

from mlx_vlm.models.aya_vision import Model, ModelConfig, TextConfig, VisionConfig
from mlx_vlm.models.aya_vision.processing_aya_vision import AyaVisionProcessor
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

from zoo import Batch, Tiny, byte_tokenizer, textured

SIZE, PATCH = 32, 8

BATCH = Batch(error="cannot be broadcast", generate_error="cannot be broadcast")


def build() -> Tiny:
    tokenizer = byte_tokenizer(
        "<|START_OF_IMG|>", "<|END_OF_IMG|>", "<|IMG_PATCH|>", "<|IMG_LINE_BREAK|>", "TILE_GLOBAL", "TILE"
    )
    text = TextConfig(
        model_type="cohere2",
        hidden_size=32,
        head_dim=16,
        num_hidden_layers=2,
        intermediate_size=64,
        num_attention_heads=2,
        num_key_value_heads=1,
        vocab_size=len(tokenizer),
        sliding_window_pattern=2,
    )
    vision = VisionConfig(
        model_type="siglip_vision_model",
        hidden_size=32,
        num_attention_heads=2,
        patch_size=PATCH,
        num_hidden_layers=2,
        intermediate_size=64,
        image_size=SIZE,
    )
    config = ModelConfig(
        text_config=text,
        vision_config=vision,
        model_type="aya_vision",
        image_token_index=tokenizer.convert_tokens_to_ids("<|IMG_PATCH|>"),
        alignment_intermediate_size=64,
    )
    images = GotOcr2ImageProcessorPil(
        size={"height": SIZE, "width": SIZE}, crop_to_patches=True, max_patches=4
    )
    processor = AyaVisionProcessor(
        images, tokenizer, patch_size=PATCH, img_size=SIZE, downsample_factor=config.downsample_factor
    )
    return Tiny(textured(Model(config)), processor, prompt)


def prompt(n: int) -> str:
    return "<image>" * n + "What differs?"
