"""Muse Spark: pictures of any size in a list, each through the tower by itself; films and sounds beside them."""

from __future__ import annotations

from mlx_vlm.models.muse_spark import Model, ModelConfig
from mlx_vlm.models.muse_spark.config import AudioConfig, TextConfig, VisionConfig
from mlx_vlm.models.muse_spark.image_processing import ImageProcessor
from mlx_vlm.models.muse_spark.processing_muse_spark import MuseSparkFeatureExtractor, MuseSparkProcessor

from zoo import Tiny, byte_tokenizer, textured

PATCH, MERGE, TILE = 8, 2, 4
MARKERS = {
    "image_token_id": "<|patch|>",
    "video_token_id": "<|video|>",
    "audio_token_id": "<|audio|>",
}


def build() -> Tiny:
    tokenizer = byte_tokenizer(*MARKERS.values(), "<|image_start|>", "<|image_end|>")
    text = TextConfig(
        hidden_size=32,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        num_hidden_layers=2,
        vocab_size=len(tokenizer),
        rms_norm_eps=1e-5,
        post_norm_eps=1e-8,
        rope_parameters={"rope_theta": 10000.0},
        layer_rope_theta=[10000.0, 0],
        layer_types=["sliding_attention", "full_attention"],
        sliding_window=64,
        final_logit_softcapping=20.0,
        output_multiplier=0.2,
        num_local_experts=4,
        num_experts_per_tok=2,
        moe_hidden_size=16,
        moe_intermediate_size=32,
    )
    vision = VisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        patch_size=PATCH,
        merge_size=MERGE,
        pos_emb_height=TILE,
        pos_emb_width=TILE,
    )
    audio = AudioConfig(
        patch_sizes=(4, 4), hidden_sizes=(8, 16), depths=(1, 1), num_hidden_layers=2, out_hidden_size=32
    )
    config = ModelConfig(
        text_config=text,
        vision_config=vision,
        audio_config=audio,
        **{name: tokenizer.convert_tokens_to_ids(token) for name, token in MARKERS.items()},
    )
    processor = MuseSparkProcessor(
        image_processor=ImageProcessor(patch_size=PATCH, downsample_factor=MERGE, max_num_image_tokens=16),
        tokenizer=tokenizer,
        feature_extractor=MuseSparkFeatureExtractor(samples_per_token=audio.samples_per_token),
        config=config,
    )
    return Tiny(textured(Model(config)), processor, prompt, metal=True)


def prompt(n: int) -> str:
    return "<|patch|>" * n + "What differs?"
