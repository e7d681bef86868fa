"""MiniCPM-V 4.6: an image and its slices, lists of arrays of their own shapes."""

from __future__ import annotations

from typing import Any

from mlx_vlm.models.minicpmv4_6 import (
    MiniCPMVImageProcessor,
    MiniCPMVProcessor,
    MiniCPMVVideoProcessor,
    Model,
    ModelConfig,
    TextConfig,
    VisionConfig,
)

from zoo import Tiny, byte_tokenizer, textured

PATCH, SIZE = 8, 32
NAMES = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "im_start": "<image>",
    "im_end": "</image>",
    "slice_start": "<slice>",
    "slice_end": "</slice>",
    "im_id_start": "<image_id>",
    "im_id_end": "</image_id>",
}
TEXT: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "rms_norm_eps": 1e-6,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "linear_num_value_heads": 2,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "full_attention_interval": 2,
    "rope_parameters": {
        "type": "default",
        "mrope_section": [2, 1, 1],
        "rope_theta": 10000.0,
        "partial_rotary_factor": 0.25,
    },
}


def build() -> Tiny:
    tokens = tokenizer()
    config = ModelConfig(
        text_config=TextConfig(model_type="qwen3_5_text", vocab_size=len(tokens), **TEXT),
        vision_config=vision(),
        image_size=2 * SIZE,
        patch_size=PATCH,
        insert_layer_id=0,
    )
    processor = MiniCPMVProcessor(image_processor(), tokens, video_processor=video_processor())
    return Tiny(textured(Model(config), gain=2.0), processor, prompt)


def tokenizer() -> Any:
    """With the marks around images and their slices."""
    return byte_tokenizer(*NAMES.values())


def vision() -> VisionConfig:
    """Two layers, the patches merged four by four after them."""
    return VisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=2 * SIZE,
        patch_size=PATCH,
    )


def image_processor() -> MiniCPMVImageProcessor:
    """A few slices of a large image, and the whole of it first."""
    return MiniCPMVImageProcessor(max_slice_nums=4, patch_size=PATCH, scale_resolution=SIZE)


def video_processor() -> MiniCPMVVideoProcessor:
    """The same for frames."""
    return MiniCPMVVideoProcessor(max_slice_nums=1, patch_size=PATCH, scale_resolution=SIZE)


def prompt(n: int) -> str:
    """A question behind n image markers."""
    return "<|image_pad|>\n" * n + "What differs?"
