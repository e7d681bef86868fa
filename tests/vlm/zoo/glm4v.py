"""GLM-4.1V: packed patches with a grid, merged two by two; rotary positions in three axes."""

from __future__ import annotations

from mlx_vlm.models.glm4v import Model, ModelConfig, TextConfig, VisionConfig
from mlx_vlm.models.glm4v.processing import Glm46VProcessor
from transformers.models.glm4v.image_processing_pil_glm4v import Glm4vImageProcessorPil

from zoo import Tiny, byte_tokenizer, textured

PATCH = 8


def build() -> Tiny:
    tokenizer = byte_tokenizer("<|image|>", "<|video|>", "<|begin_of_image|>", "<|end_of_image|>")
    ids = tokenizer.convert_tokens_to_ids
    # The processor adds the two tokens around boxes to the vocabulary.
    images = Glm4vImageProcessorPil(
        patch_size=PATCH, size={"shortest_edge": 16 * 16 * 2, "longest_edge": 64 * 64 * 2}
    )
    processor = Glm46VProcessor(images, tokenizer)
    text = TextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        eos_token_id=[tokenizer.eos_token_id],
        intermediate_size=64,
        num_attention_heads=2,
        num_hidden_layers=2,
        num_key_value_heads=1,
        rope_scaling={"rope_type": "default", "mrope_section": [1, 1, 2]},
        pad_token_id=tokenizer.pad_token_id,
    )
    vision = VisionConfig(
        model_type="glm4v_vision",
        depth=2,
        hidden_size=32,
        intermediate_size=64,
        num_heads=2,
        patch_size=PATCH,
        image_size=64,
        out_hidden_size=32,
    )
    config = ModelConfig(
        text_config=text,
        vision_config=vision,
        model_type="glm4v",
        vocab_size=len(tokenizer),
        image_token_index=ids("<|image|>"),
        image_token_id=ids("<|image|>"),
        video_token_index=ids("<|video|>"),
        video_token_id=ids("<|video|>"),
        vision_start_token_id=ids("<|begin_of_image|>"),
        vision_end_token_id=ids("<|end_of_image|>"),
    )
    return Tiny(textured(Model(config)), processor, prompt)


def prompt(n: int) -> str:
    return "<|begin_of_image|><|image|><|end_of_image|>" * n + "What differs?"
