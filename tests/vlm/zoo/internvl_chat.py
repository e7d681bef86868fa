"""InternVL: tiles of one size, a thumbnail last, all in one batch of the first axis but one."""

from __future__ import annotations

from mlx_vlm.models.internvl_chat import (
    InternVLChatProcessor,
    InternVLImageProcessor,
    Model,
    ModelConfig,
    TextConfig,
    VisionConfig,
)

from zoo import Batch, Tiny, byte_tokenizer, textured

SIZE, PATCH = 32, 8

BATCH = Batch(images=(1, 1))


def build() -> Tiny:
    tokenizer = byte_tokenizer("<img>", "</img>", "<IMG_CONTEXT>", "<|video|>")
    text = TextConfig(
        model_type="qwen2",
        hidden_size=32,
        num_hidden_layers=2,
        intermediate_size=64,
        num_attention_heads=2,
        rms_norm_eps=1e-6,
        vocab_size=len(tokenizer),
        num_key_value_heads=1,
    )
    vision = VisionConfig(
        model_type="intern_vit_6b",
        hidden_size=32,
        num_attention_heads=2,
        patch_size=PATCH,
        num_hidden_layers=2,
        intermediate_size=64,
        image_size=SIZE,
        drop_path_rate=0.0,
    )
    config = ModelConfig(
        text_config=text,
        vision_config=vision,
        model_type="internvl_chat",
        image_token_index=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<|video|>"),
        vocab_size=len(tokenizer),
    )
    images = InternVLImageProcessor(size=SIZE, dynamic_max_num=4)
    processor = InternVLChatProcessor(images, tokenizer, image_size=SIZE, patch_size=PATCH)
    return Tiny(textured(Model(config)), processor, prompt)


def prompt(n: int) -> str:
    return "<image>\n" * n + "What differs?"
