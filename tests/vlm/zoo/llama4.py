"""Llama 4: a square a picture; its processor makes no overview of the pictures that it would cut."""

from __future__ import annotations

from mlx_vlm.models.llama4 import Model, ModelConfig
from mlx_vlm.models.llama4.config import TextConfig, VisionConfig
from mlx_vlm.models.llama4.processing_llama4 import Llama4ImageProcessor, Llama4Processor

from zoo import Batch, Tiny, byte_tokenizer, textured

SIZE, PATCH = 32, 4

BATCH = Batch(images=(1, 1))  # its processor pads no prompts


def build() -> Tiny:
    tokenizer = byte_tokenizer(
        "<|image|>",
        "<|image_start|>",
        "<|image_end|>",
        "<|patch|>",
        "<|tile_x_separator|>",
        "<|tile_y_separator|>",
    )
    text = TextConfig(
        model_type="llama4_text",
        hidden_size=32,
        intermediate_size=32,
        intermediate_size_mlp=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        rms_norm_eps=1e-6,
        vocab_size=len(tokenizer),
        num_local_experts=2,
        interleave_moe_layer_step=2,
        rope_scaling=None,
    )
    vision = VisionConfig(
        model_type="llama4_vision_model",
        hidden_size=32,
        image_size=SIZE,
        initializer_range=0.02,
        intermediate_size=128,  # a pixel shuffle puts four patches beside each other
        norm_eps=1e-5,
        num_attention_heads=2,
        num_channels=3,
        num_hidden_layers=2,
        patch_size=PATCH,
        pixel_shuffle_ratio=0.5,
        projector_dropout=0.0,
        projector_input_dim=64,
        projector_output_dim=64,
        rope_theta=10000.0,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        vision_output_dim=64,
    )
    config = ModelConfig(
        text_config=text,
        vision_config=vision,
        model_type="llama4",
        image_token_index=tokenizer.convert_tokens_to_ids("<|patch|>"),
    )
    # Of a picture in several tiles the prompt names one more than there are, and mlx-vlm reads beyond
    # the end of its features: as many as fit is one.
    images = Llama4ImageProcessor(size=SIZE, max_patches=1)
    processor = Llama4Processor(images, tokenizer, patch_size=PATCH)
    return Tiny(textured(Model(config)), processor, prompt)


def prompt(n: int) -> str:
    return "<|image|>" * n + "What differs?"
