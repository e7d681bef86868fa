"""Granite 4 Vision: LLaVA-Next's tiles, projected once for each layer that is given them."""

from __future__ import annotations

from mlx import nn
from mlx_vlm.models.granite4_vision import Model, ModelConfig, TextConfig, VisionConfig
from mlx_vlm.models.granite4_vision.processing_granite4_vision import Granite4VisionProcessor
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

from zoo import Batch, Tiny, byte_tokenizer, textured

SIZE, PATCH, WIDTH = 32, 4, 64
PINPOINTS = [[SIZE, 2 * SIZE], [2 * SIZE, SIZE], [2 * SIZE, 2 * SIZE]]

BATCH = Batch(error="non-uniform length", generate_error="Slice indices must be integers")


def build() -> Tiny:
    tokenizer = byte_tokenizer("<image>")
    text = TextConfig(
        hidden_size=32,
        num_hidden_layers=6,
        intermediate_size=64,
        num_attention_heads=2,
        vocab_size=len(tokenizer),
        num_key_value_heads=1,
        attention_multiplier=0.25,
        residual_multiplier=1.0,
        logits_scaling=1.0,
    )
    vision = VisionConfig(
        num_hidden_layers=3,
        hidden_size=WIDTH,  # the projector's attention has heads of 64
        intermediate_size=64,
        num_attention_heads=2,
        image_size=SIZE,
        patch_size=PATCH,
    )
    config = ModelConfig(
        text_config=text,
        vision_config=vision,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=PINPOINTS,
        vocab_size=len(tokenizer),
        deepstack_layer_map=[[-2, 0], [-1, 1]],
        spatial_target_layers=[2, 3, 4, 5],
    )
    images = LlavaNextImageProcessorPil(
        size={"shortest_edge": SIZE},
        crop_size={"height": SIZE, "width": SIZE},
        image_grid_pinpoints=PINPOINTS,
    )
    processor = Granite4VisionProcessor(
        images,
        tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="full",
        downsample_rate=config.downsample_rate,
    )
    return Tiny(textured(narrow(Model(config))), processor, prompt, max_images=1)


def narrow(model: Model) -> Model:
    """Make the projectors narrow: mlx-vlm fixes the width of their layers at 3072."""
    for projector in [*model.layerwise_projectors, *model.spatial_projectors]:
        for layer in projector.qformer.encoder.layer:
            layer.intermediate_query.dense = nn.Linear(WIDTH, 64)
            layer.output_query.dense = nn.Linear(64, WIDTH)
    return model


def prompt(n: int) -> str:
    return "<image>\n" * n + "What differs?"
