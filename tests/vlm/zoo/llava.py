"""LLaVA 1.5: one square an image, a CLIP tower, a projector, the class token dropped."""

from __future__ import annotations

from typing import Any

from mlx_vlm.models.llava import Model, ModelConfig, TextConfig, VisionConfig
from mlx_vlm.models.llava.processing_llava import LlavaProcessor
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from zoo import Tiny, byte_tokenizer, textured

SIZE, PATCH = 32, 8


class Settings(CLIPImageProcessorPil.valid_kwargs, total=False):  # type: ignore[misc, valid-type]
    """CLIP's, and the tokenizer's `padding`, which mlx-vlm passes on and transformers 5.23 refuses."""

    padding: Any


class ImageProcessor(CLIPImageProcessorPil):
    """CLIP's, which takes no notice of `padding`."""

    valid_kwargs = Settings


def build() -> Tiny:
    tokenizer = byte_tokenizer("<image>")
    text = TextConfig(
        model_type="llama",
        hidden_size=32,
        num_hidden_layers=2,
        intermediate_size=64,
        num_attention_heads=2,
        num_key_value_heads=1,
        vocab_size=len(tokenizer),
    )
    vision = VisionConfig(
        model_type="clip_vision_model",
        num_hidden_layers=3,
        hidden_size=32,
        intermediate_size=64,
        num_attention_heads=2,
        image_size=SIZE,
        patch_size=PATCH,
    )
    config = ModelConfig(
        text_config=text,
        vision_config=vision,
        model_type="llava",
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vocab_size=len(tokenizer),
    )
    images = ImageProcessor(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE})
    processor = LlavaProcessor(
        images,
        tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    return Tiny(textured(Model(config)), processor, prompt)


def prompt(n: int) -> str:
    return "<image>\n" * n + "What differs?"
