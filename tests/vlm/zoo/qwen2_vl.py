"""Qwen2-VL: packed patches with a grid, merged two by two."""

from __future__ import annotations

from mlx_vlm.models.qwen2_vl import Model, ModelConfig, TextConfig, VisionConfig
from mlx_vlm.models.qwen2_vl.processing_qwen2_vl import Qwen2VLProcessor

from zoo import Tiny, textured
from zoo.qwen import TEXT, VISION, image_processor, prompt, tokens, video_processor

PATCH = 14


def build() -> Tiny:
    tokenizer, ids = tokens()
    ids.pop("vision_end_token_id")  # this family's config has no such field
    vision = {**VISION, "embed_dim": VISION["hidden_size"], "hidden_size": TEXT["hidden_size"]}
    config = ModelConfig(
        text_config=TextConfig(model_type="qwen2_vl", vocab_size=len(tokenizer), **TEXT),
        vision_config=VisionConfig(**vision, model_type="qwen2_vl", patch_size=PATCH, mlp_ratio=2.0),
        model_type="qwen2_vl",
        vocab_size=len(tokenizer),
        **ids,
    )
    processor = Qwen2VLProcessor(
        image_processor=image_processor(PATCH), tokenizer=tokenizer, video_processor=video_processor(PATCH)
    )
    return Tiny(textured(Model(config)), processor, prompt)
