"""MiniCPM-V 4.7: as 4.6, and every slice has its place on a canvas in the rotary positions."""

from __future__ import annotations

from mlx_vlm.models.minicpmv4_7 import MiniCPMV4_7Processor, Model, ModelConfig
from mlx_vlm.models.minicpmv4_7.config import TextConfig

from zoo import Tiny, textured
from zoo.minicpmv4_6 import (
    NAMES,
    PATCH,
    SIZE,
    TEXT,
    image_processor,
    prompt,
    tokenizer,
    video_processor,
    vision,
)


def build() -> Tiny:
    tokens = tokenizer()
    ids = {name: tokens.convert_tokens_to_ids(token) for name, token in NAMES.items()}
    config = ModelConfig(
        text_config=TextConfig(model_type="qwen3_5_text", vocab_size=len(tokens), **TEXT),
        vision_config=vision(),
        image_size=2 * SIZE,
        patch_size=PATCH,
        insert_layer_id=0,
        image_token_id=ids["image_token"],
        video_token_id=ids["video_token"],
        image_start_id=ids["im_start"],
        image_end_id=ids["im_end"],
        slice_start_id=ids["slice_start"],
        slice_end_id=ids["slice_end"],
        newline_id=tokens.encode("\n")[0],
    )
    processor = MiniCPMV4_7Processor(image_processor(), tokens, video_processor=video_processor())
    return Tiny(textured(Model(config), gain=3.0), processor, prompt)
