"""DeepSeek-V4.1: patches of an image in a record with its place in the prompt, marks around its tokens."""

from __future__ import annotations

from mlx_vlm.models.deepseek_v41 import Model, ModelConfig
from mlx_vlm.models.deepseek_v41.processing_deepseek_v41 import IMAGE_PLACEHOLDER, DeepseekV41Processor

from zoo import Tiny, byte_tokenizer, textured


def build() -> Tiny:
    tokenizer = byte_tokenizer(IMAGE_PLACEHOLDER)
    config = ModelConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        moe_intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        head_dim=64,
        qk_rope_head_dim=32,
        q_lora_rank=32,
        o_lora_rank=32,
        o_groups=1,
        n_routed_experts=4,
        num_experts_per_tok=2,
        sliding_window=64,
        compress_ratios=[0, 2, 1],
        kv_source_layer_ids=[1],
        index_source_layer_ids=[1],
        index_n_heads=2,
        index_head_dim=32,
        index_topk=8,
        candidate_source_layer_id=1,
        candidate_topk_blocks=16,
        hc_mult=2,
        hc_sinkhorn_iters=4,
        engram_layer_ids=[],
        engram_num_embeddings=[],
        image_token_id=tokenizer.convert_tokens_to_ids(IMAGE_PLACEHOLDER),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        vision_num_layers=2,
        vision_hidden_size=32,
        vision_num_heads=2,
        vision_intermediate_size=64,
        vision_patch_size=8,
        vision_downsample_ratio=2,
        vision_min_pixels=32 * 32,
        vision_max_image_tokens=64,
    )
    return Tiny(textured(Model(config)), DeepseekV41Processor(tokenizer, config=config), prompt)


def prompt(n: int) -> str:
    return IMAGE_PLACEHOLDER * n + "What differs?"
