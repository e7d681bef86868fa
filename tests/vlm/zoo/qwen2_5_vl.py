"""Qwen2.5-VL: packed patches with a grid, merged two by two; windowed attention."""

from __future__ import annotations

from mlx_vlm.models.qwen2_5_vl import Model, ModelConfig, TextConfig, VisionConfig
from mlx_vlm.models.qwen2_5_vl.processing_qwen2_5_vl import Qwen2_5_VLProcessor

from zoo import Tiny, textured
from zoo.qwen import TEXT, VISION, image_processor, prompt, tokens, video_processor

PATCH = 14


def build() -> Tiny:
    tokenizer, ids = tokens()
    config = ModelConfig(
        text_config=TextConfig(model_type="qwen2_5_vl", vocab_size=len(tokenizer), **TEXT),
        vision_config=VisionConfig(
            **VISION, model_type="qwen2_5_vl", patch_size=PATCH, intermediate_size=64, out_hidden_size=48,
            window_size=56, fullatt_block_indexes=[1],
        ),
        model_type="qwen2_5_vl",
        vocab_size=len(tokenizer),
        **ids,
    )  # fmt: skip
    processor = Qwen2_5_VLProcessor(
        image_processor=image_processor(PATCH), tokenizer=tokenizer, video_processor=video_processor(PATCH)
    )
    return Tiny(textured(Model(config)), processor, prompt)
