"""MiniCPM-o: one view an image at its own proportions, resampled to a fixed number of tokens."""

from __future__ import annotations

from mlx_vlm.models.minicpmo import Model, ModelConfig, TextConfig, VisionConfig
from mlx_vlm.models.minicpmo.processing_minicpmo import MiniCPMOImageProcessor, MiniCPMOProcessor
from transformers import WhisperFeatureExtractor

from zoo import Tiny, byte_tokenizer, textured

PATCH, SIZE, TOKENS = 8, 48, 4


def build() -> Tiny:
    tokenizer = byte_tokenizer("<image>", "</image>", "<slice>", "</slice>", "<unk>")
    text = TextConfig(
        model_type="qwen3",
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        rms_norm_eps=1e-6,
        vocab_size=len(tokenizer),
        num_key_value_heads=1,
        head_dim=16,
        rope_theta=10000.0,
        max_position_embeddings=4096,
        rope_scaling={"type": "default", "mrope_section": [4, 2, 2]},
    )
    vision = VisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=SIZE,
        patch_size=PATCH,
    )
    config = ModelConfig(
        text_config=text,
        vision_config=vision,
        query_num=TOKENS,
        image_size=SIZE,
        patch_size=PATCH,
        init_audio=False,
        init_tts=False,
    )
    images = MiniCPMOImageProcessor(patch_size=PATCH, scale_resolution=SIZE, image_feature_size=TOKENS)
    return Tiny(
        textured(Model(config)), MiniCPMOProcessor(images, WhisperFeatureExtractor(), tokenizer), prompt
    )


def prompt(n: int) -> str:
    return "<image>./</image>" * n + "What differs?"
