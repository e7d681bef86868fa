"""Pixtral: images of any size, padded to the request's largest; a token ends each row of patches."""

from __future__ import annotations

from mlx_vlm.models.pixtral import Model, ModelConfig, TextConfig, VisionConfig
from mlx_vlm.models.pixtral.image_processing_pixtral import PixtralImageProcessor
from mlx_vlm.models.pixtral.processing_pixtral import PixtralProcessor

from zoo import Tiny, byte_tokenizer, textured

SIZE, PATCH = 64, 8


def build() -> Tiny:
    tokenizer = byte_tokenizer("[IMG]", "[IMG_BREAK]", "[IMG_END]")
    text = TextConfig(
        hidden_size=32,
        head_dim=16,
        num_hidden_layers=2,
        intermediate_size=64,
        num_attention_heads=2,
        num_key_value_heads=1,
        vocab_size=len(tokenizer),
        rope_theta=10000.0,
    )
    config = ModelConfig(
        text_config=text,
        vision_config=vision(),
        image_token_index=tokenizer.convert_tokens_to_ids("[IMG]"),
        vocab_size=len(tokenizer),
    )
    images = PixtralImageProcessor(size={"longest_edge": SIZE}, patch_size=PATCH)
    return Tiny(textured(Model(config)), PixtralProcessor(images, tokenizer, patch_size=PATCH), prompt)


def vision() -> VisionConfig:
    return VisionConfig(
        num_hidden_layers=2,
        hidden_size=32,
        head_dim=16,
        intermediate_size=64,
        num_attention_heads=2,
        image_size=SIZE,
        patch_size=PATCH,
    )


def prompt(n: int) -> str:
    return "[IMG]" * n + "What differs?"
