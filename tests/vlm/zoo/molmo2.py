"""Molmo 2: a whole view and overlapping crops, whose patches are pooled by indices."""

from __future__ import annotations

from mlx_vlm.models.molmo2 import AdapterConfig, Model, ModelConfig, TextConfig, VisionConfig, VitConfig
from mlx_vlm.models.molmo2.processing import Molmo2ImageProcessor, Molmo2Processor

from zoo import Tiny, byte_tokenizer, textured

SIZE, PATCH = 32, 8
MARKS = ("<im_patch>", "<im_start>", "<low_res_im_start>", "<im_end>", "<im_col>")


def build() -> Tiny:
    tokenizer = byte_tokenizer(*MARKS)
    patch, start, whole, end, column = tokenizer.convert_tokens_to_ids(list(MARKS))
    text = TextConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        vocab_size=len(tokenizer),
        additional_vocab_size=8,
    )
    tower = VitConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=16,
        image_patch_size=PATCH,
        image_num_pos=(SIZE // PATCH) ** 2,
        image_default_input_size=[SIZE, SIZE],
    )
    adapter = AdapterConfig(
        hidden_size=32,
        intermediate_size=64,
        text_hidden_size=32,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=16,
        vit_layers=[-1, -3],
    )
    config = ModelConfig(
        text_config=text,
        vision_config=VisionConfig(vit_config=tower, adapter_config=adapter),
        image_patch_id=patch,
        image_start_token_id=start,
        low_res_image_start_token_id=whole,
        image_end_token_id=end,
        image_col_id=column,
    )
    images = Molmo2ImageProcessor(
        size={"height": SIZE, "width": SIZE}, max_crops=4, overlap_margins=[1, 1], patch_size=PATCH
    )
    return Tiny(textured(Model(config)), Molmo2Processor(images, tokenizer), prompt)


def prompt(n: int) -> str:
    return "<|image|>" * n + "What differs?"
