"""Idefics 2: images of their own sizes, padded to the largest of the prompt, resampled to few tokens."""

from __future__ import annotations

from mlx_vlm.models.idefics2 import Model, ModelConfig
from mlx_vlm.models.idefics2.config import PerceiverConfig, TextConfig, VisionConfig
from mlx_vlm.models.idefics2.processing_idefics2 import Idefics2Processor
from transformers.models.idefics2.image_processing_pil_idefics2 import Idefics2ImageProcessorPil

from zoo import Tiny, byte_tokenizer, textured

PATCH, TOKENS = 8, 4


def build() -> Tiny:
    tokenizer = byte_tokenizer("<fake_token_around_image>", "<image>", "<end_of_utterance>")
    text = TextConfig(
        model_type="mistral",
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        vocab_size=len(tokenizer),
    )
    vision = VisionConfig(
        model_type="idefics2",
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=64,
        patch_size=PATCH,
    )
    perceiver = PerceiverConfig(
        model_type="idefics2",
        num_key_value_heads=1,
        resampler_depth=2,
        resampler_head_dim=16,
        resampler_n_heads=2,
        resampler_n_latents=TOKENS,
    )
    config = ModelConfig(
        text_config=text,
        vision_config=vision,
        perceiver_config=perceiver,
        model_type="idefics2",
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        vocab_size=len(tokenizer),
    )
    images = Idefics2ImageProcessorPil(
        size={"shortest_edge": 24, "longest_edge": 64}, do_image_splitting=False
    )
    processor = Idefics2Processor(images, tokenizer, image_seq_len=TOKENS)
    # A's canvas is wide and B's is high; that of both is another.
    return Tiny(textured(Model(config)), processor, prompt, as_one_of=lambda n: min(n, 2))


def prompt(n: int) -> str:
    return "<image>" * n + "What differs?"
