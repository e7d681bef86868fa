"""Gemma 4: pictures keep their shapes; one array when those agree, else a list."""

from __future__ import annotations

from mlx_vlm.models.gemma4 import Model, ModelConfig, TextConfig, VisionConfig
from mlx_vlm.models.gemma4.processing_gemma4 import Gemma4ImageProcessor, Gemma4Processor

from zoo import Tiny, byte_tokenizer, textured

PATCH, TOKENS = 4, 12


def build() -> Tiny:
    tokenizer = byte_tokenizer(
        "<|image|>",
        "<|image>",
        "<image|>",
        "<|audio|>",
        "<|video|>",
        extra_special_tokens={
            "image_token": "<|image|>",
            "boi_token": "<|image>",
            "eoi_token": "<image|>",
            "video_token": "<|video|>",
        },
    )
    ids = tokenizer.convert_tokens_to_ids
    text = TextConfig(
        hidden_size=32,
        num_hidden_layers=4,
        intermediate_size=64,
        num_attention_heads=2,
        head_dim=16,
        global_head_dim=16,
        vocab_size=len(tokenizer),
        vocab_size_per_layer_input=len(tokenizer),
        num_kv_shared_layers=2,
        hidden_size_per_layer_input=8,
        sliding_window=64,
        sliding_window_pattern=2,
        pad_token_id=tokenizer.pad_token_id,
    )
    vision = VisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=16,
        global_head_dim=16,
        default_output_length=TOKENS,
        patch_size=PATCH,
        position_embedding_size=64,
    )
    config = ModelConfig(
        text_config=text,
        vision_config=vision,
        vocab_size=len(tokenizer),
        image_token_id=ids("<|image|>"),
        audio_token_id=ids("<|audio|>"),
        video_token_id=ids("<|video|>"),
        boi_token_id=ids("<|image>"),
        eoi_token_id=ids("<image|>"),
        hidden_size=text.hidden_size,
        pad_token_id=tokenizer.pad_token_id,
        vision_soft_tokens_per_image=TOKENS,
    )
    processor = Gemma4Processor(
        Gemma4ImageProcessor(patch_size=PATCH, max_soft_tokens=TOKENS), tokenizer, image_seq_length=TOKENS
    )
    return Tiny(textured(Model(config)), processor, prompt)


def prompt(n: int) -> str:
    return "<|image|>" * n + "What differs?"
