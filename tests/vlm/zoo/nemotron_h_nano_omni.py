"""Nemotron-H Nano Omni: images of any number of patches, before Mamba, attention and experts."""

from __future__ import annotations

from mlx_vlm.models.nemotron_h_nano_omni import Model
from mlx_vlm.models.nemotron_h_nano_omni.config import ModelConfig, TextConfig, VisionConfig
from mlx_vlm.models.nemotron_h_nano_omni.image_processing_nemotron_h_nano_omni import (
    NemotronHNanoOmniImageProcessor,
)
from mlx_vlm.models.nemotron_h_nano_omni.processing_nemotron_h_nano_omni import NemotronHNanoOmniProcessor

from zoo import Tiny, byte_tokenizer, textured

PATCH = 8


def build() -> Tiny:
    tokenizer = byte_tokenizer("<image>", "<video>", "<so_embedding>", "<img>", "</img>")
    text = TextConfig(
        model_type="nemotron_h",
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        max_position_embeddings=4096,
        num_attention_heads=2,
        num_key_value_heads=1,
        attention_bias=False,
        mamba_num_heads=4,
        mamba_head_dim=16,
        mamba_proj_bias=False,
        ssm_state_size=16,
        conv_kernel=4,
        n_groups=2,
        mlp_bias=False,
        layer_norm_epsilon=1e-5,
        use_bias=False,
        use_conv_bias=True,
        hybrid_override_pattern=["M", "*", "-"],
        head_dim=16,
        time_step_min=0.001,
        time_step_max=0.1,
    )
    vision = VisionConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=8 * PATCH,
        patch_size=PATCH,
        max_resolution=16 * PATCH,
    )
    config = ModelConfig(
        text_config=text,
        vision_config=vision,
        projector_hidden_size=64,
        vit_hidden_size=32,
        vision_final_layernorm=True,
        img_context_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        video_context_token_id=tokenizer.convert_tokens_to_ids("<video>"),
        sound_context_token_id=tokenizer.convert_tokens_to_ids("<so_embedding>"),
    )
    images = NemotronHNanoOmniImageProcessor(
        norm_mean=[0.48, 0.46, 0.41],
        norm_std=[0.27, 0.26, 0.28],
        patch_size=PATCH,
        min_num_patches=16,
        max_num_patches=64,
    )
    return Tiny(textured(Model(config)), NemotronHNanoOmniProcessor(images, tokenizer), prompt)


def prompt(n: int) -> str:
    return "<image>\n" * n + "What differs?"
