"""DeepSeek-V4 with vision: packed patches, and a layout of marks around each picture's tokens."""

from __future__ import annotations

from mlx_vlm.models.deepseek_v4 import Model, ModelConfig
from mlx_vlm.models.deepseek_v4.processing_deepseek_v4 import IMAGE_PLACEHOLDER, DeepseekV4Processor

from zoo import Tiny, byte_tokenizer, textured


def build() -> Tiny:
    tokenizer = byte_tokenizer(IMAGE_PLACEHOLDER)
    config = ModelConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        moe_intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        n_routed_experts=4,
        q_lora_rank=16,
        qk_rope_head_dim=8,
        num_experts_per_tok=2,
        head_dim=16,
        compress_ratios=[0, 4, 0],
        hc_mult=2,
        hc_sinkhorn_iters=4,
        num_hash_layers=0,
        sliding_window=64,
        o_groups=1,
        o_lora_rank=16,
        index_n_heads=2,
        index_head_dim=16,
        index_topk=8,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        vision_n_layers=2,
        vision_dim=32,
        vision_n_heads=2,
        vision_inter_dim=64,
        vision_patch_size=8,
        vision_downsample_ratio=2,
        vision_max_n_token=64,
        vision_min_pixels=32 * 32,
    )
    processor = DeepseekV4Processor(
        tokenizer,
        vocab_size=config.vocab_size,
        vision_patch_size=config.vision_patch_size,
        vision_downsample_ratio=config.vision_downsample_ratio,
        vision_max_n_token=config.vision_max_n_token,
        vision_min_pixels=config.vision_min_pixels,
    )
    return Tiny(textured(Model(config)), processor, prompt)


def prompt(n: int) -> str:
    return IMAGE_PLACEHOLDER * n + "What differs?"
