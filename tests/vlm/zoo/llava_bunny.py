"""LLaVA-Bunny (nanoLLaVA): one image a prompt, mlx-vlm's own image processor, a tower of 729 tokens."""

from __future__ import annotations

from mlx_vlm.models.llava_bunny import ImageProcessor, Model, ModelConfig, TextConfig, VisionConfig

from zoo import Tiny, byte_tokenizer, textured

PATCH = 2
SIZE = 27 * PATCH  # the model insists on 27 x 27 patches


def build() -> Tiny:
    tokenizer = byte_tokenizer()
    text = TextConfig(
        model_type="qwen2",
        hidden_size=32,
        num_hidden_layers=2,
        intermediate_size=64,
        num_attention_heads=2,
        rms_norm_eps=1e-6,
        vocab_size=len(tokenizer),
        num_key_value_heads=1,
        tie_word_embeddings=False,
    )
    vision = VisionConfig(
        model_type="siglip_vision_model",
        num_hidden_layers=2,
        hidden_size=32,
        intermediate_size=64,
        num_attention_heads=2,
        image_size=SIZE,
        patch_size=PATCH,
    )
    config = ModelConfig(
        text_config=text,
        vision_config=vision,
        model_type="llava-qwen2",
        auto_map={},
        hidden_size=32,
        mm_hidden_size=32,
        vocab_size=len(tokenizer),
    )
    # `mlx_vlm.load` hangs the image processor on the tokenizer, which is the processor.
    tokenizer.image_processor = ImageProcessor(size=(SIZE, SIZE))
    return Tiny(textured(Model(config)), tokenizer, prompt, max_images=1)


def prompt(n: int) -> str:
    return "<image>\n" * n + "What differs?"
