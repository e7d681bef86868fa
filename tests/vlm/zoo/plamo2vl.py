"""PLaMo 2 VL: up to 24 tiles an image and the whole of it small, in a row; layers of Mamba between attention."""

from __future__ import annotations

from mlx_vlm.models.plamo2vl import Model, ModelConfig, TextConfig, VisionConfig
from mlx_vlm.models.plamo2vl.processing import Plamo2VLProcessor
from transformers import SiglipImageProcessorPil

from zoo import Batch, Tiny, byte_tokenizer, textured

SIZE, PATCH = 16, 8

BATCH = Batch(error="Only batch size 1", generate_error="Only batch size 1")


def build(room: int = 4096) -> Tiny:
    """With room for so many tokens of images in a prompt."""
    tokenizer = byte_tokenizer("<plamo:image>", "<siglip2:img>", "</siglip2:img>")
    text = TextConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        hidden_size_per_head=16,
        mamba_d_state=8,
        mamba_num_heads=2,
        mamba_chunk_size=16,
        intermediate_size=64,
        vocab_size=len(tokenizer),
    )
    vision = VisionConfig(
        hidden_size=32,
        num_hidden_layers=2,
        intermediate_size=64,
        num_attention_heads=2,
        patch_size=PATCH,
        image_size=SIZE,
        image_token_id=tokenizer.convert_tokens_to_ids("<plamo:image>"),
        image_feature_size=32,
        image_proj_hidden_size=32,
    )
    images = SiglipImageProcessorPil(
        size={"height": SIZE, "width": SIZE},
        patch_size=PATCH,
        max_image_width=SIZE,
        max_image_height=SIZE,
        downsample_ratio=1.0,
        tile_context_length=room,
    )
    config = ModelConfig(text_config=text, vision_config=vision)
    return Tiny(textured(Model(config)), Plamo2VLProcessor(images, tokenizer), prompt)


def prompt(_: int) -> str:
    return "What differs?"  # the processor puts the images before it
