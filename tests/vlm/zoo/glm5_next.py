"""GLM-5-Next: packed patches with a grid before linear and sparse attention."""

from __future__ import annotations

from mlx_vlm.models.glm5_next import Model, ModelConfig, TextConfig, VisionConfig
from mlx_vlm.models.glm5_next.processing import (
    Glm5NextImageProcessor,
    Glm5NextProcessor,
    Glm5NextVideoProcessor,
)

from zoo import Tiny, byte_tokenizer, textured

PATCH = 8


def build() -> Tiny:
    tokenizer = byte_tokenizer(
        "<|image|>",
        "<|video|>",
        "<|begin_of_image|>",
        "<|end_of_image|>",
        "<|begin_of_video|>",
        "<|end_of_video|>",
    )
    ids = tokenizer.convert_tokens_to_ids
    text = TextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        moe_intermediate_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        num_key_value_heads=2,
        n_routed_experts=4,
        kv_lora_rank=16,
        q_lora_rank=16,
        v_head_dim=16,
        qk_nope_head_dim=16,
        num_experts_per_tok=2,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        index_topk=64,
        index_head_dim=16,
        index_n_heads=2,
        index_kpool=4,
        linear_head_dim=32,
        linear_num_heads=2,
        hc_mult=2,
        hc_sinkhorn_iters=4,
        first_k_dense_replace=1,
        layer_types=["linear_attention", "deepseek_sparse_attention"] * 2,
    )
    vision = VisionConfig(
        depth=2,
        hidden_size=32,
        num_heads=2,
        image_size=64,
        patch_size=PATCH,
        out_hidden_size=32,
        intermediate_size=64,
        projection_intermediate_size=64,
    )
    config = ModelConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=ids("<|image|>"),
        video_token_id=ids("<|video|>"),
        image_start_token_id=ids("<|begin_of_image|>"),
        image_end_token_id=ids("<|end_of_image|>"),
        video_start_token_id=ids("<|begin_of_video|>"),
        video_end_token_id=ids("<|end_of_video|>"),
    )
    sizes = {"patch_size": PATCH, "min_image_tokens": 1, "max_image_tokens": 16}
    processor = Glm5NextProcessor(Glm5NextImageProcessor(**sizes), tokenizer, Glm5NextVideoProcessor(**sizes))
    return Tiny(textured(Model(config)), processor, prompt)


def prompt(n: int) -> str:
    return "<|begin_of_image|><|image|><|end_of_image|>" * n + "What differs?"
