"""dots.ocr: Qwen's packed patches with a grid, one frame deep."""

from __future__ import annotations

from mlx_vlm.models.dots_ocr import DotsVLProcessor, Model, ModelConfig, TextConfig, VisionConfig
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from zoo import Tiny, byte_tokenizer, textured

PATCH = 8


def build() -> Tiny:
    tokenizer = byte_tokenizer(
        "<|imgpad|>", "<|img|>", "<|endofimg|>", "<|video_pad|>", "<|user|>", "<|assistant|>"
    )
    text = TextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    vision = VisionConfig(
        embed_dim=32,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        patch_size=PATCH,
    )
    config = ModelConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=tokenizer.convert_tokens_to_ids("<|imgpad|>"),
        video_token_id=tokenizer.convert_tokens_to_ids("<|video_pad|>"),
        vocab_size=len(tokenizer),
    )
    images = Qwen2VLImageProcessorPil(
        patch_size=PATCH,
        temporal_patch_size=1,
        merge_size=2,
        size={"shortest_edge": 16 * 16, "longest_edge": 64 * 64},
    )
    processor = DotsVLProcessor(images, tokenizer)
    # The class has the published vocabulary's ids written into it.
    processor.image_token_id, processor.video_token_id = config.image_token_id, config.video_token_id
    return Tiny(textured(Model(config)), processor, prompt)


def prompt(n: int) -> str:
    return "<|user|>" + "<|img|><|imgpad|><|endofimg|>" * n + "What differs?<|assistant|>"
