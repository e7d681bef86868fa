"""LLM-jp-VL: tiles as in InternVL over a SigLIP tower.

mlx-vlm has no processor for it: the checkpoint's own comes from the hub as code. `inputs` makes what
the model is given, tiles of one size in one batch and as many placeholders as they have tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from mlx_vlm.models.llmjpvl import Model, ModelConfig, TextConfig, VisionConfig

from zoo import Tiny, byte_tokenizer, textured

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image

SIZE, PATCH = 32, 8
TOKENS = (SIZE // PATCH // 2) ** 2
CONTEXT = "<IMG_CONTEXT>"


def build() -> Tiny:
    tokenizer = byte_tokenizer(CONTEXT)
    text = TextConfig(
        hidden_size=32,
        num_hidden_layers=2,
        intermediate_size=64,
        num_attention_heads=2,
        num_key_value_heads=1,
        vocab_size=len(tokenizer),
    )
    vision = VisionConfig(
        hidden_size=32,
        num_attention_heads=2,
        num_hidden_layers=2,
        intermediate_size=64,
        patch_size=PATCH,
        image_size=SIZE,
    )
    config = ModelConfig(
        text_config=text,
        vision_config=vision,
        image_token_index=tokenizer.convert_tokens_to_ids(CONTEXT),
        vocab_size=len(tokenizer),
    )
    return Tiny(textured(Model(config)), None, prompt, tiles=2)


def prompt(n: int) -> str:
    return "<image>\n" * n + "What differs?"


def inputs(images: Sequence[Image.Image], text: str) -> dict[str, Any]:
    """Two tiles of every image, and the prompt with their placeholders."""
    tiles = [tile for image in images for tile in _tiles(image)]
    text = text.replace("<image>", CONTEXT * (2 * TOKENS))
    ids = byte_tokenizer(CONTEXT)(text)["input_ids"]
    prepared = {"input_ids": mx.array([ids]), "attention_mask": mx.ones((1, len(ids)), mx.int32)}
    return {**prepared, "pixel_values": mx.array(np.stack(tiles))} if tiles else prepared


def _tiles(image: Image.Image) -> list[np.ndarray]:
    wide = np.asarray(image.convert("RGB").resize((2 * SIZE, SIZE)), np.float32) / 127.5 - 1
    return [wide[:, :SIZE].transpose(2, 0, 1), wide[:, SIZE:].transpose(2, 0, 1)]
