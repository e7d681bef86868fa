"""Mistral Large 3: the vision side of Mistral 3, before DeepSeek's latent attention and experts."""

from __future__ import annotations

from mlx_vlm.models.mistral3.processing_mistral3 import Mistral3Processor
from mlx_vlm.models.mistral_large3 import Model, ModelConfig
from mlx_vlm.models.mistral_large3.config import TextConfig
from mlx_vlm.models.pixtral.image_processing_pixtral import PixtralImageProcessor

from zoo import Tiny, byte_tokenizer, textured
from zoo.pixtral import PATCH, SIZE, prompt, vision


def build() -> Tiny:
    tokenizer = byte_tokenizer("[IMG]", "[IMG_BREAK]", "[IMG_END]")
    text = TextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        moe_intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        q_lora_rank=16,
        kv_lora_rank=16,
        qk_rope_head_dim=8,
        qk_nope_head_dim=16,
        v_head_dim=16,
        n_routed_experts=4,
        num_experts_per_tok=2,
        first_k_dense_replace=1,
        max_position_embeddings=4096,
    )
    config = ModelConfig(
        text_config=text,
        vision_config=vision(),
        image_token_id=tokenizer.convert_tokens_to_ids("[IMG]"),
        vocab_size=len(tokenizer),
    )
    images = PixtralImageProcessor(size={"longest_edge": SIZE}, patch_size=PATCH)
    processor = Mistral3Processor(images, tokenizer, patch_size=PATCH, spatial_merge_size=2)
    return Tiny(textured(Model(config)), processor, prompt)
