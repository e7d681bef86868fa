"""LLaVA-NeXT: tiles of one image; mlx-vlm's model reads the first image of a prompt only."""

from __future__ import annotations

from mlx_vlm.models.llava_next import Model, ModelConfig, TextConfig, VisionConfig
from mlx_vlm.models.llava_next.processing_llava_next import LlavaNextProcessor
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

from zoo import Batch, Tiny, byte_tokenizer, textured

SIZE, PATCH = 32, 8
PINPOINTS = [[SIZE, 2 * SIZE], [2 * SIZE, SIZE], [2 * SIZE, 2 * SIZE]]

BATCH = Batch(error="non-uniform length", generate_error="All the input array dimensions must match")


def build() -> Tiny:
    tokenizer = byte_tokenizer("<image>")
    text = TextConfig(
        model_type="mistral",
        hidden_size=32,
        num_hidden_layers=2,
        intermediate_size=64,
        num_attention_heads=2,
        num_key_value_heads=1,
        vocab_size=len(tokenizer),
    )
    vision = VisionConfig(
        model_type="clip_vision_model",
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
        model_type="llava_next",
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vocab_size=len(tokenizer),
    )
    images = LlavaNextImageProcessorPil(
        size={"shortest_edge": SIZE},
        crop_size={"height": SIZE, "width": SIZE},
        image_grid_pinpoints=PINPOINTS,
    )
    processor = LlavaNextProcessor(
        images,
        tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    return Tiny(textured(Model(config)), processor, prompt)


def prompt(n: int) -> str:
    return "<image>\n" * n + "What differs?"
