"""GLM-4.5V: GLM-4.1V's packed patches before a mixture of experts."""

from __future__ import annotations

from mlx_vlm.models.glm4v_moe import Model, ModelConfig, TextConfig, VisionConfig
from mlx_vlm.models.glm4v_moe.processing import Glm46VMoEProcessor
from transformers.models.glm4v.image_processing_pil_glm4v import Glm4vImageProcessorPil

from zoo import Tiny, byte_tokenizer, textured

PATCH = 8


def build() -> Tiny:
    tokenizer = byte_tokenizer("<|image|>", "<|video|>", "<|begin_of_image|>", "<|end_of_image|>")
    ids = tokenizer.convert_tokens_to_ids
    images = Glm4vImageProcessorPil(
        patch_size=PATCH, size={"shortest_edge": 16 * 16 * 2, "longest_edge": 64 * 64 * 2}
    )
    # The processor adds the two tokens around boxes to the vocabulary.
    processor = Glm46VMoEProcessor(images, tokenizer)
    text = TextConfig(
        model_type="glm4v_moe_text",
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        max_position_embeddings=4096,
        moe_intermediate_size=32,
        norm_topk_prob=True,
        num_attention_heads=2,
        n_group=1,
        head_dim=16,
        topk_group=1,
        n_shared_experts=1,
        n_routed_experts=4,
        routed_scaling_factor=1.0,
        num_experts_per_tok=2,
        first_k_dense_replace=1,
        num_hidden_layers=2,
        num_key_value_heads=1,
        rms_norm_eps=1e-5,
        use_qk_norm=False,
        attention_bias=True,
        partial_rotary_factor=0.5,
        rope_theta=10000.0,
        rope_scaling={"type": "default", "mrope_section": [2, 1, 1]},
    )
    vision = VisionConfig(
        model_type="glm4v_moe_vision",
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
        model_type="glm4v_moe",
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
