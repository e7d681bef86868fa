"""Qwen3.5: Qwen3-VL's vision tower, its DeepStack unused, before linear and full attention layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlx_vlm.models import qwen3_5
from mlx_vlm.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor

from zoo import Tiny, textured
from zoo.qwen import TEXT, VISION, image_processor, prompt, tokens, video_processor

if TYPE_CHECKING:
    from types import ModuleType

PATCH = 16
SPECIFIC = ("intermediate_size", "rope_scaling", "rope_theta")


def build(package: ModuleType = qwen3_5, **text: Any) -> Tiny:
    tokenizer, ids = tokens()
    alike = {name: value for name, value in TEXT.items() if name not in SPECIFIC}
    config = package.ModelConfig(
        text_config=package.TextConfig(
            model_type="qwen3_5",
            vocab_size=len(tokenizer),
            head_dim=16,
            linear_num_value_heads=2,
            linear_num_key_heads=2,
            linear_key_head_dim=16,
            linear_value_head_dim=16,
            linear_conv_kernel_dim=4,
            full_attention_interval=2,
            rope_parameters={
                "type": "default",
                "mrope_section": [2, 1, 1],
                "rope_theta": 10000.0,
                "partial_rotary_factor": 0.5,
            },
            **alike,
            **(text or {"intermediate_size": TEXT["intermediate_size"]}),
        ),
        vision_config=package.VisionConfig(
            **VISION, patch_size=PATCH, intermediate_size=64, out_hidden_size=48, num_position_embeddings=64
        ),
        model_type="qwen3_5",
        vocab_size=len(tokenizer),
        **ids,
    )
    processor = Qwen3VLProcessor(
        image_processor=image_processor(PATCH), tokenizer=tokenizer, video_processor=video_processor(PATCH)
    )
    return Tiny(textured(package.Model(config)), processor, prompt)
