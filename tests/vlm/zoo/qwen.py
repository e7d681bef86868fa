"""Share what the Qwen families of the zoo have in common."""

from __future__ import annotations

from typing import Any

from mlx_vlm.models.qwen3_vl.processing_qwen3_vl import Qwen3VLImageProcessor, Qwen3VLVideoProcessor

from zoo import byte_tokenizer

TEXT: dict[str, Any] = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 4096,
    "rope_theta": 10000.0,
    "rope_scaling": {"type": "mrope", "mrope_section": [2, 2, 2]},
}
VISION: dict[str, Any] = {
    "depth": 2,
    "hidden_size": 32,
    "num_heads": 2,
    "in_channels": 3,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
}


def tokens() -> tuple[Any, dict[str, int]]:
    """A tokenizer with Qwen's special tokens, and their ids as a config names them."""
    names = {
        "vision_start_token_id": "<|vision_start|>",
        "vision_end_token_id": "<|vision_end|>",
        "image_token_id": "<|image_pad|>",
        "video_token_id": "<|video_pad|>",
    }
    tokenizer = byte_tokenizer(*names.values(), "<|im_start|>", "<|im_end|>")
    return tokenizer, {name: tokenizer.convert_tokens_to_ids(token) for name, token in names.items()}


def image_processor(patch: int) -> Any:
    """Few tokens an image, still of different counts."""
    return Qwen3VLImageProcessor(patch_size=patch, min_pixels=16 * patch**2, max_pixels=64 * patch**2)


def video_processor(patch: int) -> Any:
    """For four small frames."""
    return Qwen3VLVideoProcessor(patch_size=patch, min_pixels=16 * patch**2, max_pixels=64 * patch**2)


def prompt(n: int) -> str:
    """A question behind n image markers."""
    return "<|vision_start|><|image_pad|><|vision_end|>" * n + "What differs?"
