"""Phi-4-multimodal: padded patches of each image, audio, and a LoRA of the language model for either."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_vlm.models.phi4mm import (
    Model,
    ModelConfig,
    Phi4MMAudioFeatureExtractor,
    Phi4MMImageProcessor,
    Phi4MMProcessor,
    VisionConfig,
)
from mlx_vlm.models.phi4mm.processing_phi4mm import AUDIO_TOKEN_INDEX, DEFAULT_AUDIO_TOKEN

from zoo import Tiny, byte_tokenizer, textured

PATCH = 8
ADAPTED = "language_model.model.layers.0.self_attn.qkv_proj.weight"


def build() -> Tiny:
    # The processor knows the audio token by its number.
    tokenizer = byte_tokenizer(numbered={DEFAULT_AUDIO_TOKEN: AUDIO_TOKEN_INDEX})
    config = ModelConfig(
        vision_config=VisionConfig(
            hidden_size=32,
            intermediate_size=64,
            num_attention_heads=2,
            num_hidden_layers=3,
            patch_size=PATCH,
            image_size=64,
        ),
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        intermediate_size=64,
        num_attention_heads=2,
        num_key_value_heads=1,
        mm_hidden_size=32,
        pad_token_id=tokenizer.pad_token_id,
        audio_processor={
            "config": {
                "attention_dim": 16,
                "attention_heads": 2,
                "num_blocks": 1,
                "linear_units": 32,
                "conv_channels": 16,
                "ext_pw_out_channel": 16,
                "depthwise_seperable_out_channel": 16,
            }
        },
    )
    processor = Phi4MMProcessor(
        Phi4MMImageProcessor(patch_size=PATCH, max_num_patches=64, min_num_patches=9),
        tokenizer,
        audio_processor=Phi4MMAudioFeatureExtractor(),
    )
    model = textured(Model(config))
    model.load_weights(list(model.sanitize(with_adapters(model)).items()), strict=False)
    return Tiny(model.eval(), processor, prompt)


def with_adapters(model: Model) -> dict[str, mx.array]:
    """Its weights as a checkpoint has them: one of them beneath a LoRA for vision and one for speech."""
    weights = dict(tree_flatten(model.language_model.parameters(), prefix=".language_model"))
    own = weights[ADAPTED].shape
    path = ADAPTED.removeprefix("language_model.").removesuffix(".weight")
    checkpoint = {f"{path}.base_layer.weight": weights[ADAPTED]}
    for kind in ("vision", "speech"):
        checkpoint[f"{path}.lora_A.{kind}.weight"] = mx.random.normal((4, own[1]))
        checkpoint[f"{path}.lora_B.{kind}.weight"] = mx.random.normal((own[0], 4))
    return checkpoint


def prompt(n: int) -> str:
    return "".join(f"<|image_{i + 1}|>" for i in range(n)) + "What differs?"


def complete(inputs: dict[str, Any]) -> dict[str, Any]:
    """The inputs without the prompt's mask, which mlx-vlm's model hands to attention as it is."""
    return {name: value for name, value in inputs.items() if name != "attention_mask"}
