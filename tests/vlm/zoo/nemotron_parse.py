"""Nemotron-Parse: an encoder of one page, and a decoder that is seeded with the prompt."""

from __future__ import annotations

from mlx_vlm.models.nemotron_parse import Model, ModelConfig
from mlx_vlm.models.nemotron_parse.config import TextConfig, VisionConfig
from mlx_vlm.models.nemotron_parse.processing_nemotron_parse import (
    NemotronParseImageProcessor,
    NemotronParseProcessor,
)

from zoo import Batch, Tiny, byte_tokenizer, textured

SIZE = (64, 128)  # four patches of a row become one token

BATCH = Batch(generate_error="cannot be broadcast")


def build() -> Tiny:
    tokenizer = byte_tokenizer()
    vision = VisionConfig(
        hidden_size=32,
        num_heads=2,
        mlp_ratio=2.0,
        num_layers=2,
        image_size=SIZE,
        final_size=SIZE,
        num_cls_tokens=3,
        num_register_tokens=1,
        neck_dim=32,
    )
    text = TextConfig(
        d_model=32,
        decoder_attention_heads=2,
        decoder_ffn_dim=64,
        decoder_layers=2,
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.eos_token_id,
    )
    config = ModelConfig(vision_config=vision, text_config=text, vocab_size=len(tokenizer), image_size=SIZE)
    processor = NemotronParseProcessor(NemotronParseImageProcessor(final_size=SIZE), tokenizer)
    model = textured(Model(config), gain=2)
    return Tiny(model, processor, prompt, max_images=1, without="You have to specify pixel_values")


def prompt(_: int) -> str:
    return "<predict>"
