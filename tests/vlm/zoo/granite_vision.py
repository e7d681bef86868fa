"""Granite Vision: LLaVA-Next's tiles; the model reads the first image of a prompt only."""

from __future__ import annotations

from mlx_vlm.models.granite_vision import Model, ModelConfig, TextConfig, VisionConfig
from mlx_vlm.models.granite_vision.processing_granite_vision import GraniteVisionProcessor
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

from zoo import Batch, Tiny, byte_tokenizer, textured

SIZE, PATCH = 32, 8
PINPOINTS = [[SIZE, 2 * SIZE], [2 * SIZE, SIZE], [2 * SIZE, 2 * SIZE]]

BATCH = Batch(error="non-uniform length", generate_error="All the input array dimensions must match")


def build() -> Tiny:
    tokenizer = byte_tokenizer("<image>")
    text = TextConfig(
        hidden_size=32,
        num_hidden_layers=2,
        intermediate_size=64,
        num_attention_heads=2,
        vocab_size=len(tokenizer),
        num_key_value_heads=1,
        attention_multiplier=0.25,
        residual_multiplier=1.0,
        logits_scaling=1.0,
    )
    vision = VisionConfig(
        num_hidden_layers=3,
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
        vision_feature_layer=[-3, -2, -1],
        image_grid_pinpoints=PINPOINTS,
        vocab_size=len(tokenizer),
    )
    images = LlavaNextImageProcessorPil(
        size={"shortest_edge": SIZE},
        crop_size={"height": SIZE, "width": SIZE},
        image_grid_pinpoints=PINPOINTS,
    )
    processor = GraniteVisionProcessor(
        images, tokenizer, patch_size=PATCH, vision_feature_select_strategy="full"
    )
    return Tiny(textured(Model(config)), processor, prompt, max_images=1)


def prompt(n: int) -> str:
    return "<image>\n" * n + "What differs?"
