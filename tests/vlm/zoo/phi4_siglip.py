"""Phi-4-SigLIP: patches of any number, padded to the most that there may be; -200 says where images go."""

from __future__ import annotations

from mlx_vlm.models.phi4_siglip import Model, ModelConfig
from mlx_vlm.models.phi4_siglip.config import TextConfig, VisionConfig
from mlx_vlm.models.phi4_siglip.processing_phi4_siglip import Phi4SigLipProcessor
from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil

from zoo import Tiny, byte_tokenizer, phi4mm, textured

PATCH = 8

complete = phi4mm.complete


def build() -> Tiny:
    tokenizer = byte_tokenizer()
    text = TextConfig(
        vocab_size=len(tokenizer),
        num_hidden_layers=2,
        intermediate_size=64,
        num_attention_heads=2,
        hidden_size=32,
        num_key_value_heads=1,
    )
    vision = VisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=32,
        patch_size=PATCH,
        num_patches=16,
    )
    config = ModelConfig(
        text_config=text,
        vision_config=vision,
        mm_hidden_size=32,
        min_num_patches=4,
        max_num_patches=32,
        eos_token_id=tokenizer.eos_token_id,
    )
    images = Siglip2ImageProcessorPil(patch_size=PATCH, max_num_patches=32)
    return Tiny(textured(Model(config)), Phi4SigLipProcessor(images, tokenizer), prompt)


def prompt(n: int) -> str:
    return "<image>\n" * n + "What differs?"
