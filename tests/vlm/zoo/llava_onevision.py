"""LLaVA-OneVision: tiles padded to the prompt's most, unpadded again, a newline after every row."""

from __future__ import annotations

from mlx_vlm.models.llava_onevision import Model, ModelConfig, TextConfig, VisionConfig
from mlx_vlm.models.llava_onevision.processing_llava_onevision import LlavaOnevisionProcessor
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil,
)

from zoo import Tiny, byte_tokenizer, textured

SIZE, PATCH = 32, 8
PINPOINTS = [[SIZE, 2 * SIZE], [2 * SIZE, SIZE], [2 * SIZE, 2 * SIZE], [3 * SIZE, 2 * SIZE]]


def build() -> Tiny:
    tokenizer = byte_tokenizer("<image>", "<video>")
    text = TextConfig(
        hidden_size=32,
        num_hidden_layers=2,
        intermediate_size=64,
        num_attention_heads=2,
        num_key_value_heads=1,
        vocab_size=len(tokenizer),
    )
    vision = VisionConfig(
        num_hidden_layers=2,
        hidden_size=32,
        intermediate_size=64,
        num_attention_heads=2,
        image_size=SIZE,
        patch_size=PATCH,
    )
    config = ModelConfig(
        text_config=text,
        vision_config=vision,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=PINPOINTS,
        vocab_size=len(tokenizer),
    )
    images = LlavaOnevisionImageProcessorPil(
        size={"height": SIZE, "width": SIZE}, image_grid_pinpoints=PINPOINTS
    )
    processor = LlavaOnevisionProcessor(
        images, tokenizer, num_image_tokens=(SIZE // PATCH) ** 2, video_size=(SIZE, SIZE)
    )
    return Tiny(textured(Model(config)), processor, prompt)


def prompt(n: int) -> str:
    return "<image>" * n + "What differs?"
