"""Qwen3.5 MoE: Qwen3.5 before a mixture of experts."""

from __future__ import annotations

from mlx_vlm.models import qwen3_5_moe

from zoo import Tiny, qwen3_5


def build() -> Tiny:
    return qwen3_5.build(
        qwen3_5_moe,
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=32,
        shared_expert_intermediate_size=32,
    )
