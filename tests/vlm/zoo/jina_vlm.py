"""Jina VLM: overlapping crops and a thumbnail of one image; its features are added to the prompt's."""

from __future__ import annotations

from mlx_vlm.models.jina_vlm.config import ModelConfig, TextConfig, VisionConfig
from mlx_vlm.models.jina_vlm.image_processor import ImageProcessor
from mlx_vlm.models.jina_vlm.jina_vlm import Model
from mlx_vlm.models.jina_vlm.processing_jinavlm import JinaVLMProcessor

from zoo import Batch, Tiny, byte_tokenizer, textured

PATCH, SIZE = 8, 48
MARKS = ("<|image|>", "<im_patch>", "<im_start>", "<im_end>", "<im_col>")

BATCH = Batch(nested=True, one_size=True, generate_error="cannot be broadcast")


def build() -> Tiny:
    tokenizer = byte_tokenizer(*MARKS)
    image, patch, start, end, column = tokenizer.convert_tokens_to_ids(list(MARKS))
    text = TextConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        vocab_size=len(tokenizer),
        additional_vocab_size=8,
        intermediate_size=64,
    )
    vision = VisionConfig(
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        head_dim=16,
        patch_size=PATCH,
        image_size=SIZE,
        intermediate_size=64,
        vit_layers=(-1, -3),
        output_size=32,
        connector_hidden_size=48,
    )
    config = ModelConfig(
        text_config=text,
        vision_config=vision,
        vocab_size=len(tokenizer),
        image_token_index=image,
        image_token_id=image,
        image_start_token_id=start,
        image_end_token_id=end,
        image_patch_token_id=patch,
        image_column_token_id=column,
    )
    processor = JinaVLMProcessor(tokenizer)
    processor._image_proc = ImageProcessor(
        base_input_size=(SIZE, SIZE),
        patch_size=PATCH,
        max_crops=4,
        min_pixels=32 * 32,
        max_pixels=64 * 64,
        overlap_margins=(2, 2),
        patch_token_id=patch,
        start_token_id=start,
        end_token_id=end,
        column_token_id=column,
    )
    return Tiny(textured(Model(config)), processor, prompt, max_images=1)


def prompt(n: int) -> str:
    return "<|image|>" * n + "What differs?"
