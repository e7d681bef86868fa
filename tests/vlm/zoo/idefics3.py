"""Idefics 3 (SmolVLM): tiles of one square, the whole image last; padding is told by its zeros."""

from __future__ import annotations

from mlx_vlm.models.idefics3 import Model, ModelConfig, TextConfig, VisionConfig
from mlx_vlm.models.idefics3.processing_idefics3 import Idefics3Processor
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

from zoo import Tiny, byte_tokenizer, textured

SIZE, PATCH, SCALE = 32, 8, 2


def build(
    model_class: type = Model,
    processor_class: type = Idefics3Processor,
    images_class: type = Idefics3ImageProcessorPil,
) -> Tiny:
    places = [f"<row_{row}_col_{column}>" for row in range(1, 4) for column in range(1, 4)]
    tokenizer = byte_tokenizer(
        "<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>", *places
    )
    text = TextConfig(
        model_type="llama",
        hidden_size=32,
        intermediate_size=64,
        num_attention_heads=2,
        rms_norm_eps=1e-5,
        vocab_size=len(tokenizer),
        num_key_value_heads=1,
        num_hidden_layers=2,
    )
    vision = VisionConfig(
        model_type="idefics3",
        hidden_size=32,
        num_attention_heads=2,
        patch_size=PATCH,
        num_hidden_layers=2,
        intermediate_size=64,
        image_size=SIZE,
    )
    config = ModelConfig(
        text_config=text,
        vision_config=vision,
        model_type="idefics3",
        vocab_size=len(tokenizer),
        scale_factor=SCALE,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )
    images = images_class(size={"longest_edge": 2 * SIZE}, max_image_size={"longest_edge": SIZE})
    processor = processor_class(images, tokenizer, image_seq_len=(SIZE // PATCH // SCALE) ** 2)
    return Tiny(textured(model_class(config)), processor, prompt)


def prompt(n: int) -> str:
    return "<image>" * n + "What differs?"
