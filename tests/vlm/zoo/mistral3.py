"""Mistral 3: Pixtral's tower, whose patches the projector merges two by two."""

from __future__ import annotations

from mlx_vlm.models.mistral3 import Model, ModelConfig, TextConfig
from mlx_vlm.models.mistral3.processing_mistral3 import Mistral3Processor
from mlx_vlm.models.pixtral.image_processing_pixtral import PixtralImageProcessor

from zoo import Tiny, byte_tokenizer, textured
from zoo.pixtral import PATCH, SIZE, prompt, vision


def build() -> Tiny:
    tokenizer = byte_tokenizer("[IMG]", "[IMG_BREAK]", "[IMG_END]")
    text = TextConfig(
        model_type="mistral",
        hidden_size=32,
        head_dim=16,
        num_hidden_layers=2,
        intermediate_size=64,
        num_attention_heads=2,
        num_key_value_heads=1,
        rms_norm_eps=1e-6,
        vocab_size=len(tokenizer),
        max_position_embeddings=4096,
        rope_theta=10000.0,
    )
    config = ModelConfig(
        text_config=text,
        vision_config=vision(),
        model_type="mistral3",
        image_token_index=tokenizer.convert_tokens_to_ids("[IMG]"),
        vocab_size=len(tokenizer),
    )
    images = PixtralImageProcessor(size={"longest_edge": SIZE}, patch_size=PATCH)
    processor = Mistral3Processor(images, tokenizer, patch_size=PATCH, spatial_merge_size=2)
    return Tiny(textured(Model(config)), processor, prompt)
