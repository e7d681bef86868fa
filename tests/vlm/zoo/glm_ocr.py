"""GLM-OCR: packed patches with a grid, and mlx-vlm's own image processor."""

from __future__ import annotations

from mlx_vlm.models.glm_ocr import Model, ModelConfig, TextConfig, VisionConfig
from mlx_vlm.models.glm_ocr.processing import Glm46VImageProcessor, GlmOcrProcessor

from zoo import Tiny, byte_tokenizer, textured

PATCH = 8


def build() -> Tiny:
    tokenizer = byte_tokenizer("<|image|>", "<|video|>", "<|begin_of_image|>", "<|end_of_image|>")
    ids = tokenizer.convert_tokens_to_ids
    text = TextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        eos_token_id=[tokenizer.eos_token_id],
        intermediate_size=64,
        num_attention_heads=2,
        num_hidden_layers=2,
        num_key_value_heads=1,
        head_dim=16,
        rope_parameters={
            "rope_type": "default",
            "mrope_section": [2, 3, 3],
            "partial_rotary_factor": 1.0,
            "rope_theta": 10000,
        },
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    vision = VisionConfig(
        depth=2,
        hidden_size=32,
        intermediate_size=64,
        num_heads=2,
        patch_size=PATCH,
        image_size=64,
        out_hidden_size=32,
    )
    config = ModelConfig(
        text_config=text,
        vision_config=vision,
        vocab_size=len(tokenizer),
        image_token_id=ids("<|image|>"),
        video_token_id=ids("<|video|>"),
        image_start_token_id=ids("<|begin_of_image|>"),
        image_end_token_id=ids("<|end_of_image|>"),
        hidden_size=32,
        pad_token_id=tokenizer.pad_token_id,
    )
    images = Glm46VImageProcessor(patch_size=PATCH, min_pixels=16 * 16 * 2, max_pixels=64 * 64 * 2)
    return Tiny(textured(Model(config)), GlmOcrProcessor(images, tokenizer), prompt)


def prompt(n: int) -> str:
    return "<|begin_of_image|><|image|><|end_of_image|>" * n + "What differs?"
