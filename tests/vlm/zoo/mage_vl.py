"""Mage-VL: packed patches, each with its place in time and space; the frames of a video are images."""

from __future__ import annotations

from mlx_vlm.models.mage_vl import Model, ModelConfig, TextConfig, VisionConfig
from mlx_vlm.models.mage_vl.processing_mage_vl import MageVLProcessor
from mlx_vlm.models.qwen3_vl.processing_qwen3_vl import Qwen3VLImageProcessor

from zoo import Tiny, textured
from zoo.qwen import prompt, tokens

PATCH = 16


def build() -> Tiny:
    tokenizer, ids = tokens()
    text = TextConfig(
        hidden_size=48,
        num_hidden_layers=2,
        intermediate_size=96,
        num_attention_heads=4,
        vocab_size=len(tokenizer),
        num_key_value_heads=2,
        head_dim=16,
    )
    vision = VisionConfig(
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        patch_size=PATCH,
        out_hidden_size=48,
        text_hidden_size=48,
    )
    images = Qwen3VLImageProcessor(
        patch_size=PATCH, min_pixels=16 * PATCH**2, max_pixels=64 * PATCH**2, temporal_patch_size=1
    )
    config = ModelConfig(text_config=text, vision_config=vision, **ids)
    return Tiny(textured(Model(config)), MageVLProcessor(images, tokenizer), prompt)
