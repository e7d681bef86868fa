"""PaliGemma: one square an image, its tokens first; mlx-vlm's tower reads the first image only."""

from __future__ import annotations

from mlx_vlm.models.paligemma import Model, ModelConfig, TextConfig, VisionConfig
from mlx_vlm.models.paligemma.processing_paligemma import PaliGemmaProcessor
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from zoo import Tiny, byte_tokenizer, textured

SIZE, PATCH = 32, 8


def build() -> Tiny:
    images = SiglipImageProcessorPil(size={"height": SIZE, "width": SIZE})
    images.image_seq_length = (SIZE // PATCH) ** 2
    tokenizer = byte_tokenizer("<image>")
    # The processor adds the tokens of places and segments to the vocabulary.
    processor = PaliGemmaProcessor(images, tokenizer)
    text = TextConfig(
        hidden_size=32,
        num_hidden_layers=2,
        intermediate_size=64,
        num_attention_heads=2,
        num_key_value_heads=1,
        vocab_size=len(tokenizer),
        use_bidirectional_attention=True,
    )
    vision = VisionConfig(
        num_hidden_layers=2,
        hidden_size=32,
        intermediate_size=64,
        num_attention_heads=2,
        patch_size=PATCH,
        projection_dim=32,
        image_size=SIZE,
    )
    config = ModelConfig(
        text_config=text,
        vision_config=vision,
        vocab_size=len(tokenizer),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        hidden_size=32,
        pad_token_id=tokenizer.pad_token_id,
    )
    return Tiny(textured(Model(config)), processor, prompt, max_images=1)


def prompt(n: int) -> str:
    return "<image>" * n + "What differs?"
