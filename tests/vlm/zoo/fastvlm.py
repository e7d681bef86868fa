"""FastVLM: one square a picture; every image is one id in the prompt, which grows in the model."""

from __future__ import annotations

from mlx_vlm.models.fastvlm import Model, ModelConfig, TextConfig, VisionConfig
from mlx_vlm.models.fastvlm.processing import FastVLMImageProcessor, FastVLMProcessor

from zoo import Tiny, byte_tokenizer, textured

SIZE = 128  # the tower makes one token of 64 x 64 pixels


def build() -> Tiny:
    tokenizer = byte_tokenizer()
    text = TextConfig(
        model_type="qwen2",
        hidden_size=32,
        num_hidden_layers=2,
        intermediate_size=64,
        num_attention_heads=2,
        vocab_size=len(tokenizer),
        num_key_value_heads=1,
    )
    vision = VisionConfig(image_size=SIZE, projection_dim=32)
    vision.layers = [1, 1, 1, 1, 1]
    vision.embed_dims = [16, 16, 16, 32, 32]
    vision.mlp_ratios = [2, 2, 2, 2, 2]
    config = ModelConfig(
        text_config=text,
        vision_config=vision,
        eos_token_id=tokenizer.eos_token_id,
        mm_hidden_size=int(vision.embed_dims[-1] * vision.cls_ratio),
    )
    images = FastVLMImageProcessor(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE})
    return Tiny(textured(Model(config)), FastVLMProcessor(images, tokenizer), prompt)


def prompt(n: int) -> str:
    return "<image>\n" * n + "What differs?"
