"""Qwen3-Omni: its thinker embeds pictures, films and sounds together; DeepStack as in Qwen3-VL."""

from __future__ import annotations

from mlx_vlm.models.qwen3_omni_moe import Model, ModelConfig
from mlx_vlm.models.qwen3_omni_moe.config import (
    AudioConfig,
    Code2WavConfig,
    CodePredictorConfig,
    TalkerConfig,
    TextConfig,
    ThinkerConfig,
    VisionConfig,
)
from mlx_vlm.models.qwen3_omni_moe.processing_qwen3_omni_moe import Qwen3OmniMoeProcessor
from transformers import WhisperFeatureExtractor

from zoo import Tiny, byte_tokenizer, textured
from zoo.qwen import TEXT, VISION, image_processor, prompt, video_processor

PATCH, MELS = 16, 16
MARKERS = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "audio_token": "<|audio_pad|>",
    "vision_bos_token": "<|vision_start|>",
    "vision_eos_token": "<|vision_end|>",
    "audio_bos_token": "<|audio_start|>",
    "audio_eos_token": "<|audio_end|>",
}
NAMES = {
    "image_token_id": "image_token",
    "video_token_id": "video_token",
    "audio_token_id": "audio_token",
    "vision_start_token_id": "vision_bos_token",
    "vision_end_token_id": "vision_eos_token",
    "audio_start_token_id": "audio_bos_token",
    "audio_end_token_id": "audio_eos_token",
}


def build() -> Tiny:
    tokenizer = byte_tokenizer(*MARKERS.values(), extra_special_tokens=MARKERS)
    ids = {name: tokenizer.convert_tokens_to_ids(MARKERS[marker]) for name, marker in NAMES.items()}
    text = TextConfig(
        vocab_size=len(tokenizer),
        head_dim=12,
        num_experts=4,
        num_experts_per_tok=2,
        decoder_sparse_step=1,
        mlp_only_layers=[],
        moe_intermediate_size=32,
        **TEXT,
    )
    vision = VisionConfig(
        **VISION, patch_size=PATCH, intermediate_size=64, out_hidden_size=48,
        num_position_embeddings=64, deepstack_visual_indexes=[0, 1],
    )  # fmt: skip
    audio = AudioConfig(
        d_model=32,
        encoder_layers=2,
        encoder_attention_heads=2,
        encoder_ffn_dim=64,
        num_mel_bins=MELS,
        output_dim=48,
        downsample_hidden_size=8,
    )
    config = ModelConfig(
        thinker_config=ThinkerConfig(text, vision, audio, **ids),
        # What speaks the answer is not built: only the thinker looks at pictures.
        talker_config=TalkerConfig(text, CodePredictorConfig()),
        code2wav_config=Code2WavConfig(),
        enable_audio_output=False,
    )
    processor = Qwen3OmniMoeProcessor(
        image_processor=image_processor(PATCH),
        video_processor=video_processor(PATCH),
        feature_extractor=WhisperFeatureExtractor(feature_size=MELS, return_attention_mask=True),
        tokenizer=tokenizer,
    )
    return Tiny(textured(Model(config)), processor, prompt)
