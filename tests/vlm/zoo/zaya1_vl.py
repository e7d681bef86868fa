"""ZAYA1-VL: Qwen2.5's tower; the language model's own low-rank weights apply where the images are."""

from __future__ import annotations

from mlx_vlm.models.zaya1_vl import Model, ModelConfig, TextConfig, VisionConfig
from mlx_vlm.models.zaya1_vl.processing_zaya1_vl import Zaya1VLProcessor

from zoo import Tiny, byte_tokenizer, textured
from zoo.qwen import VISION, image_processor

PATCH = 14


def build() -> Tiny:
    tokenizer = byte_tokenizer("<image>", "<|vision_start|>", "<|vision_end|>")
    start, end, image = tokenizer.convert_tokens_to_ids(["<|vision_start|>", "<|vision_end|>", "<image>"])
    text = TextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        ffn_hidden_size=64,
        num_hidden_layers=2,
        num_experts=4,
        num_attention_heads=4,
        head_dim=16,
        zaya_mlp_expansion=16,
        vision_lora_rank_attn=4,
        vision_lora_rank_mlp=4,
    )
    vision = VisionConfig(
        **VISION, model_type="qwen2_5_vl", patch_size=PATCH, intermediate_size=64, out_hidden_size=32,
        window_size=56, fullatt_block_indexes=[1],
    )  # fmt: skip
    config = ModelConfig(
        text_config=text,
        vision_config=vision,
        vocab_size=len(tokenizer),
        image_token_id=image,
        vision_start_token_id=start,
        vision_end_token_id=end,
    )
    processor = Zaya1VLProcessor(image_processor=image_processor(PATCH), tokenizer=tokenizer)
    return Tiny(textured(Model(config)), processor, prompt, chunked=False)


def prompt(n: int) -> str:
    return "<|vision_start|><image><|vision_end|>" * n + "What differs?"
