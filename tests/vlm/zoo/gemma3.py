"""Gemma 3: each image is resized to one square and becomes the same number of tokens."""

from __future__ import annotations

from mlx_vlm.models.gemma3 import Model, ModelConfig, TextConfig, VisionConfig
from mlx_vlm.models.gemma3.processing_gemma3 import Gemma3Processor
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

from zoo import Batch, Tiny, byte_tokenizer, textured

SIZE, PATCH, TOKENS = 32, 8, 4

BATCH = Batch(nested=True, generate_error="inconsistently sized batches of images")


def build() -> Tiny:
    tokenizer = byte_tokenizer(
        "<image_soft_token>",
        "<start_of_image>",
        "<end_of_image>",
        extra_special_tokens={
            "image_token": "<image_soft_token>",
            "boi_token": "<start_of_image>",
            "eoi_token": "<end_of_image>",
        },
    )
    text = TextConfig(
        model_type="gemma3_text",
        hidden_size=32,
        num_hidden_layers=2,
        intermediate_size=64,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        vocab_size=len(tokenizer),
        query_pre_attn_scalar=16,
        mm_tokens_per_image=TOKENS,
        sliding_window_pattern=2,
    )
    vision = VisionConfig(
        model_type="siglip_vision_model",
        num_hidden_layers=2,
        hidden_size=32,
        intermediate_size=64,
        num_attention_heads=2,
        patch_size=PATCH,
        image_size=SIZE,
    )
    config = ModelConfig(
        text_config=text,
        vision_config=vision,
        model_type="gemma3",
        vocab_size=len(tokenizer),
        image_token_index=tokenizer.image_token_id,
        hidden_size=text.hidden_size,
        pad_token_id=tokenizer.pad_token_id,
    )
    processor = Gemma3Processor(
        Gemma3ImageProcessorPil(size={"height": SIZE, "width": SIZE}),
        tokenizer,
        image_seq_length=TOKENS,
    )
    return Tiny(textured(Model(config)), processor, prompt)


def prompt(n: int) -> str:
    return "<start_of_image>" * n + "What differs?"
