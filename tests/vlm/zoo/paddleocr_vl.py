"""PaddleOCR-VL: packed patches of one image, behind a batch axis, with a grid beside them."""

from __future__ import annotations

from mlx_vlm.models.paddleocr_vl import Model, ModelConfig, TextConfig, VisionConfig
from mlx_vlm.models.paddleocr_vl.processing_paddleocr_vl import ImageProcessor, PaddleOCRVLProcessor

from zoo import Batch, Tiny, byte_tokenizer, textured

PATCH = 8
WIDTH = 1024  # the projector's output, which is not configurable

BATCH = Batch(error="inhomogeneous shape", generate_error="out of bounds")


def build() -> Tiny:
    tokenizer = byte_tokenizer("<|IMAGE_PLACEHOLDER|>", "<|placeholder|>", "<|IMAGE_START|>", "<|IMAGE_END|>")
    ids = tokenizer.convert_tokens_to_ids
    text = TextConfig(
        hidden_size=WIDTH,
        num_hidden_layers=2,
        intermediate_size=64,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        vocab_size=len(tokenizer),
        use_bias=False,
        rope_scaling={"rope_type": "default", "type": "default", "mrope_section": [2, 3, 3]},
    )
    vision = VisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=64,
        patch_size=PATCH,
    )
    config = ModelConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=ids("<|IMAGE_PLACEHOLDER|>"),
        video_token_id=ids("<|placeholder|>"),
        vision_start_token_id=ids("<|IMAGE_START|>"),
        vision_end_token_id=ids("<|IMAGE_END|>"),
        eos_token_id=tokenizer.eos_token_id,
    )
    images = ImageProcessor(min_pixels=32 * 32, max_pixels=64 * 64, patch_size=PATCH)
    return Tiny(textured(Model(config)), PaddleOCRVLProcessor(images, tokenizer), prompt, max_images=1)


def prompt(n: int) -> str:
    return "<|IMAGE_START|><|IMAGE_PLACEHOLDER|><|IMAGE_END|>" * n + "What differs?"
