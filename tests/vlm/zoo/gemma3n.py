"""Gemma 3n: a MobileNet makes a fixed number of tokens of each picture; sound may come along."""

from __future__ import annotations

from unittest.mock import patch

from mlx_vlm.models.gemma3n import AudioConfig, Model, ModelConfig, TextConfig, VisionConfig, vision
from mlx_vlm.models.gemma3n.processing_gemma3n import Gemma3nProcessor
from transformers.models.gemma3n.feature_extraction_gemma3n import Gemma3nAudioFeatureExtractor
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from zoo import Batch, Tiny, byte_tokenizer, textured

SIZE, SIDE, WIDTH = 64, 2, 32
STAGES = (16, 16, 16, WIDTH)

BATCH = Batch(images=(1, 1))


def build() -> Tiny:
    tokenizer = byte_tokenizer(
        "<start_of_image>",
        "<end_of_image>",
        "<start_of_audio>",
        "<end_of_audio>",
        "<image_soft_token>",
        "<audio_soft_token>",
        extra_special_tokens={
            "image_token": "<image_soft_token>",
            "boi_token": "<start_of_image>",
            "eoi_token": "<end_of_image>",
            "audio_token": "<audio_soft_token>",
            "boa_token": "<start_of_audio>",
            "eoa_token": "<end_of_audio>",
        },
    )
    text = TextConfig(
        model_type="gemma3n_text",
        hidden_size=32,
        num_hidden_layers=2,
        intermediate_size=[64, 64],
        head_dim=16,
        vocab_size=len(tokenizer),
        vocab_size_per_layer_input=tokenizer.image_token_id,
        num_key_value_heads=1,
        laurel_rank=8,
        altup_num_inputs=2,
        hidden_size_per_layer_input=8,
        sliding_window=64,
        sliding_window_pattern=2,
        activation_sparsity_pattern=[0.0, 0.0],
        layer_types=["sliding_attention", "full_attention"],
    )
    config = ModelConfig(
        text_config=text,
        vision_config=VisionConfig(
            hidden_size=WIDTH, image_size=SIZE, vocab_size=1, vocab_offset=tokenizer.image_token_id
        ),
        audio_config=AudioConfig(
            input_feat_size=16,
            hidden_size=32,
            conf_num_attention_heads=2,
            conf_num_hidden_layers=1,
            sscp_conv_channel_size=(8, 4),
            vocab_size=1,
            vocab_offset=tokenizer.audio_token_id,
        ),
        model_type="gemma3n",
        vocab_size=len(tokenizer),
        image_token_index=tokenizer.image_token_id,
        image_token_id=tokenizer.image_token_id,
        audio_token_id=tokenizer.audio_token_id,
        hidden_size=text.hidden_size,
        pad_token_id=tokenizer.pad_token_id,
        vision_soft_tokens_per_image=SIDE**2,
    )
    processor = Gemma3nProcessor(
        Gemma3nAudioFeatureExtractor(),
        SiglipImageProcessorPil(size={"height": SIZE, "width": SIZE}),
        tokenizer,
        image_seq_length=SIDE**2,
    )
    return Tiny(textured(small(config), gain=10), processor, prompt)


def small(config: ModelConfig) -> Model:
    """The model with a small MobileNet: the published one is written into the code."""
    adapter = vision.MobileNetV5MultiScaleFusionAdapter

    def stages() -> list[list[object]]:
        narrow = [[vision._er(3, STAGES[0], 2, expand_ratio=0.5)], [vision._uir(3, 3, STAGES[1], 2)]]
        wide = [[vision._uir(3, 3, width, 2), vision._mmqa(2, 16, 1)] for width in STAGES[2:]]
        return narrow + wide

    def fusion(**_: object) -> object:
        return adapter(in_chs=list(STAGES[2:]), out_chs=WIDTH, output_resolution=(SIDE, SIDE))

    with (
        patch.object(vision, "gemma3n_mobilenet_def", stages),
        patch.object(vision, "MobileNetV5MultiScaleFusionAdapter", fusion),
    ):
        return Model(config)


def prompt(n: int) -> str:
    return "<image_soft_token>" * n + "What differs?"
