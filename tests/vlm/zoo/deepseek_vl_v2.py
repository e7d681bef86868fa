"""DeepSeek-VL2: a padded view and its tiles, rows of one batch; at most two images are tiled."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import mlx.core as mx
from mlx_vlm.models.deepseek_vl_v2 import Model, ModelConfig
from mlx_vlm.models.deepseek_vl_v2.processing_deepsek_vl_v2 import DeepseekVLV2Processor

from zoo import Batch, Tiny, byte_tokenizer, textured

SIZE, PATCH = 32, 8

BATCH = Batch(images=(1, 1), undefined="it reads beyond the end of images_spatial_crop (see `complete`)")


def build() -> Tiny:
    tokenizer = byte_tokenizer("<image>", pad="<｜▁pad▁｜>")
    with contextlib.redirect_stdout(io.StringIO()):  # the processor prints what it adds
        processor = DeepseekVLV2Processor(
            tokenizer,
            candidate_resolutions=((SIZE, SIZE), (SIZE, 2 * SIZE), (2 * SIZE, SIZE)),
            patch_size=PATCH,
            downsample_ratio=2,
        )
    config = ModelConfig.from_dict(
        {
            "model_type": "deepseek_vl_v2",
            "image_token_index": processor.image_token_id,
            "pad_id": tokenizer.pad_token_id,
            "vocab_size": len(tokenizer),
            "language_config": {
                "vocab_size": len(tokenizer),
                "hidden_size": 32,
                "intermediate_size": 64,
                "moe_intermediate_size": 32,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "num_key_value_heads": 2,
                "n_shared_experts": 1,
                "n_routed_experts": 4,
                "num_experts_per_tok": 2,
                "kv_lora_rank": 16,
                "q_lora_rank": None,
                "qk_rope_head_dim": 8,
                "v_head_dim": 16,
                "qk_nope_head_dim": 16,
                "first_k_dense_replace": 1,
            },
            "vision_config": {
                "model_type": "vision",
                "layers": 2,
                "width": 32,
                "intermediate_size": 64,
                "num_attention_heads": 2,
                "image_size": SIZE,
                "patch_size": PATCH,
                "mlp_ratio": 2.0,
            },
            "projector_config": {"input_dim": 32, "n_embed": 32},
        }
    )
    return Tiny(
        textured(Model(config)), processor, prompt, as_one_of=lambda n: "tiled" if n <= 2 else "whole"
    )


def prompt(n: int) -> str:
    return "<image>\n" * n + "What differs?"


def complete(inputs: dict[str, Any]) -> dict[str, Any]:
    """The inputs with a row of zeros for every view that begins no image.

    mlx-vlm counts images by `pixel_values.shape[1]`, the number of views, and so reads beyond the
    end of `images_spatial_crop`: whatever lies there decides how many views are encoded.
    """
    if "pixel_values" not in inputs:
        return inputs
    rows = inputs["pixel_values"].shape[1] - inputs["images_spatial_crop"].shape[1]
    crops = mx.pad(inputs["images_spatial_crop"], [(0, 0), (0, rows), (0, 0)])
    return {**inputs, "images_spatial_crop": crops}
