"""MiMo-V2: Qwen's processor and packed patches; windows along rows and columns, sinks; audio beside."""

from __future__ import annotations

from mlx_vlm.models.mimo_v2 import AudioConfig, MiMoV2Processor, Model, ModelConfig, TextConfig, VisionConfig

from zoo import Tiny, textured
from zoo.qwen import image_processor, prompt, tokens, video_processor

PATCH = 8


def build() -> Tiny:
    tokenizer, ids = tokens()
    text = TextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        moe_intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=24,
        v_head_dim=16,
        swa_head_dim=24,
        swa_v_head_dim=16,
        swa_num_attention_heads=2,
        swa_num_key_value_heads=1,
        hybrid_layer_pattern=[0, 1],
        moe_layer_freq=[0, 1],
        n_routed_experts=4,
        num_experts_per_tok=2,
    )
    vision = VisionConfig(
        depth=3,
        hidden_size=32,
        intermediate_size=64,
        out_hidden_size=32,
        num_heads=2,
        num_key_value_heads=1,
        patch_size=PATCH,
        spatial_patch_size=PATCH,
        qk_channels=16,
        visual_token_window_size=4,
        fullatt_block_indexes=[0],
        vit_window_attn_types=[-1, 0, 1],
    )
    audio = AudioConfig(
        out_hidden_size=32,
        audio_channels=2,
        input_local_attn_heads=2,
        input_local_dim=32,
        input_local_head_dim=16,
        input_local_intermediate_size=64,
        input_local_layers=1,
        speech_vocab_size=16,
        speech_zeroemb_idx=15,
    )
    config = ModelConfig(
        text_config=text,
        vision_config=vision,
        audio_config=audio,
        vocab_size=len(tokenizer),
        eos_token_id=tokenizer.eos_token_id,
        **ids,
    )
    processor = MiMoV2Processor(image_processor(PATCH), tokenizer, video_processor(PATCH))
    return Tiny(textured(Model(config)), processor, prompt)
