"""Hunyuan-VL: packed patches with a grid; a request's images attend to each other in the tower."""

from __future__ import annotations

from mlx_vlm.models.hunyuan_vl import HunYuanVLImageProcessor, HunYuanVLProcessor, Model, ModelConfig
from mlx_vlm.models.hunyuan_vl.config import TextConfig, VisionConfig

from zoo import Batch, Tiny, byte_tokenizer, textured

PATCH = 8
START, END, IMAGE = "<|im_start|>", "<|im_end|>", "<|image|>"

BATCH = Batch(error="out of bounds", generate_error="out of bounds")


def build() -> Tiny:
    tokenizer = byte_tokenizer(START, END, IMAGE, "<|newline|>")
    ids = tokenizer.convert_tokens_to_ids
    text = TextConfig(
        vocab_size=len(tokenizer),
        org_vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        attention_head_dim=16,
        intermediate_size=64,
        rope_scaling={"type": "xdrope", "alpha": 1000.0, "factor": 1.0, "xdrope_section": [2, 2, 2, 2]},
    )
    vision = VisionConfig(
        hidden_size=32,
        out_hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        patch_size=PATCH,
        max_image_size=64,
    )
    config = ModelConfig(
        text_config=text,
        vision_config=vision,
        image_start_token_id=ids(START),
        image_end_token_id=ids(END),
        image_token_id=ids(IMAGE),
        image_newline_token_id=ids("<|newline|>"),
        eos_token_id=tokenizer.eos_token_id,
        vocab_size=len(tokenizer),
    )

    class Processor(HunYuanVLProcessor):
        """mlx-vlm's, with the ids that this vocabulary has where Hunyuan's are written into the class."""

        IMAGE_TOKEN_ID = ids(IMAGE)
        IM_START_TOKEN_ID = ids(START)
        IM_END_TOKEN_ID = ids(END)
        PAD_TOKEN_ID = tokenizer.pad_token_id

    images = HunYuanVLImageProcessor(min_pixels=32 * 32, max_pixels=48 * 48, patch_size=PATCH)
    return Tiny(textured(Model(config)), Processor(images, tokenizer), prompt)


def prompt(n: int) -> str:
    return (START + IMAGE + END) * n + "What differs?"
