"""Llama 3.2 Vision: tiles of a fixed number an image, which some layers attend to beside the text."""

from __future__ import annotations

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_vlm.models.mllama import Model, ModelConfig, TextConfig, VisionConfig
from mlx_vlm.models.mllama.processing_mllama import MllamaProcessor
from transformers.models.mllama.image_processing_pil_mllama import MllamaImageProcessorPil

from zoo import Batch, Tiny, byte_tokenizer, textured

SIZE, PATCH = 64, 16

BATCH = Batch(nested=True, generate_error="number of image tokens in each text")


def build() -> Tiny:
    tokenizer = byte_tokenizer("<|python_tag|>", "<|image|>")
    text = TextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        cross_attention_layers=[1],
    )
    vision = VisionConfig(
        image_size=SIZE,
        patch_size=PATCH,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_global_layers=1,
        vision_output_dim=32 * 2,
        intermediate_layers_indices=[0],
    )
    config = ModelConfig(
        text_config=text,
        vision_config=vision,
        model_type="mllama",
        image_token_index=tokenizer.convert_tokens_to_ids("<|image|>"),
        vocab_size=len(tokenizer),
    )
    images = MllamaImageProcessorPil(size={"height": SIZE, "width": SIZE})
    return Tiny(opened(textured(Model(config))), MllamaProcessor(images, tokenizer), prompt)


def opened(model: Model) -> Model:
    """The model with its gates open; shut, as they are drawn, no layer would heed an image."""
    gates = [(path, mx.ones(1)) for path, value in tree_flatten(model.parameters()) if value.shape == (1,)]
    return model.load_weights(gates, strict=False)


def prompt(n: int) -> str:
    return "<|image|>" * n + "What differs?"
