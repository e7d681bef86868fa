"""Youtu-VL: packed patches of any number, attended to in windows.

mlx-vlm has no processor for it: the checkpoint's own comes from the hub as code. `inputs` makes what
the model is given, patches in squares of four and a placeholder for each square.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from mlx_vlm.models.youtu_vl import Model, ModelConfig
from mlx_vlm.models.youtu_vl.config import TextConfig, VisionConfig

from zoo import Tiny, byte_tokenizer, textured

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image

PATCH, SQUARE = 8, 2
PLACE = "<|image_pad|>"


def build() -> Tiny:
    tokenizer = byte_tokenizer(PLACE, "<|video_pad|>")
    text = TextConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        vocab_size=len(tokenizer),
        kv_lora_rank=16,
        q_lora_rank=16,
        qk_rope_head_dim=8,
        v_head_dim=16,
        qk_nope_head_dim=16,
    )
    vision = VisionConfig(
        hidden_size=32,
        out_hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_patches=64,
        patch_size=PATCH,
        window_size=4 * PATCH,
        fullatt_block_indexes=[1],
    )
    config = ModelConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=tokenizer.convert_tokens_to_ids(PLACE),
        video_token_id=tokenizer.convert_tokens_to_ids("<|video_pad|>"),
        vocab_size=len(tokenizer),
    )
    return Tiny(textured(Model(config)), None, prompt)


def prompt(n: int) -> str:
    return "<image>\n" * n + "What differs?"


def inputs(images: Sequence[Image.Image], text: str) -> dict[str, Any]:
    """Patches of every image, and the prompt with as many placeholders as they give tokens."""
    patches, shapes = [], []
    for image in images:
        wide, high = (max(1, side // (SQUARE * PATCH)) * SQUARE for side in image.size)
        patches.append(_patches(image.convert("RGB").resize((wide * PATCH, high * PATCH)), high, wide))
        shapes.append((high, wide))
        text = text.replace("<image>", PLACE * (high * wide // SQUARE**2), 1)
    ids = byte_tokenizer(PLACE, "<|video_pad|>")(text)["input_ids"]
    prepared = {"input_ids": mx.array([ids]), "attention_mask": mx.ones((1, len(ids)), mx.int32)}
    if not patches:
        return prepared
    return {
        **prepared,
        "pixel_values": mx.array(np.concatenate(patches)),
        "spatial_shapes": mx.array(shapes, mx.int32),
    }


def _patches(image: Image.Image, high: int, wide: int) -> np.ndarray:
    """Flatten patches, those of a square beside each other."""
    pixels = np.asarray(image, np.float32) / 127.5 - 1
    squares = pixels.reshape(high // SQUARE, SQUARE, PATCH, wide // SQUARE, SQUARE, PATCH, 3)
    return squares.transpose(0, 3, 1, 4, 2, 5, 6).reshape(high * wide, -1)
