"""Janus (DeepSeek-VL): one image a prompt, padded to a square by mlx-vlm's own image processor."""

from __future__ import annotations

from mlx_vlm.models.multi_modality import (
    ImageProcessor,
    Model,
    ModelConfig,
    ProjectorConfig,
    TextConfig,
    VisionConfig,
)

from zoo import Tiny, byte_tokenizer, textured

SIZE, PATCH = 32, 8


def build() -> Tiny:
    tokenizer = byte_tokenizer("<image_placeholder>")
    text = TextConfig(
        model_type="llama",
        hidden_size=32,
        num_hidden_layers=2,
        intermediate_size=64,
        num_attention_heads=2,
        vocab_size=len(tokenizer),
    )
    vision = VisionConfig(
        model_type="vision",
        num_hidden_layers=2,
        hidden_size=32,
        intermediate_size=64,
        num_attention_heads=2,
        image_size=SIZE,
        patch_size=PATCH,
        cls="CLIPVisionTower",
        params={},
    )
    projector = ProjectorConfig(
        cls="MlpProjector", model_type="projector", params={"projector_type": "mlp_gelu", "depth": 2}
    )
    config = ModelConfig(
        text_config=text,
        vision_config=vision,
        projector_config=projector,
        model_type="multi_modality",
        image_token_index=tokenizer.convert_tokens_to_ids("<image_placeholder>"),
        num_image_tokens=(SIZE // PATCH) ** 2,
        vocab_size=len(tokenizer),
    )
    # `mlx_vlm.load` hangs the image processor on the tokenizer, which is the processor.
    tokenizer.image_processor = ImageProcessor({"vision_config": {"params": {}}}, image_size=SIZE)
    return Tiny(textured(Model(config)), tokenizer, prompt, max_images=1)


def prompt(n: int) -> str:
    return "<image>\n" * n + "What differs?"
