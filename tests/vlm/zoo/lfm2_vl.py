"""LFM2-VL: tiles and a thumbnail as rows of patches, padded to one length behind a mask."""

from __future__ import annotations

from mlx_vlm.models.lfm2_vl import Model, ModelConfig, TextConfig, VisionConfig
from mlx_vlm.models.lfm2_vl.processing_lfm2_vl import Lfm2VlNumpyImageProcessor, Lfm2VlProcessor

from zoo import Tiny, byte_tokenizer, textured

PATCH, TILE = 8, 32


def build(model_class: type = Model) -> Tiny:
    places = [f"<|img_row_{row}_col_{column}|>" for row in range(1, 4) for column in range(1, 4)]
    names = {
        "image_token": "<image>",
        "image_start_token": "<|image_start|>",
        "image_end_token": "<|image_end|>",
        "image_thumbnail": "<|img_thumbnail|>",
    }
    tokenizer = byte_tokenizer(*names.values(), *places, extra_special_tokens=names)
    text = TextConfig(
        hidden_size=32,
        num_hidden_layers=2,
        intermediate_size=64,
        num_attention_heads=2,
        num_key_value_heads=1,
        vocab_size=len(tokenizer),
        block_dim=32,
        block_auto_adjust_ff_dim=False,
        conv_dim=32,
        conv_dim_out=32,
        num_heads=2,
        eos_token_id=tokenizer.eos_token_id,
        layer_types=["conv", "full_attention"],
        tie_word_embeddings=False,
    )
    vision = VisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        patch_size=PATCH,
        num_patches=16,
    )
    config = ModelConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        projector_hidden_size=48,
        eos_token_id=tokenizer.eos_token_id,
    )
    images = Lfm2VlNumpyImageProcessor(
        encoder_patch_size=PATCH,
        tile_size=TILE,
        min_image_tokens=2,
        max_image_tokens=8,
        max_num_patches=32,
        max_pixels_tolerance=1.5,
        max_tiles=4,
        do_image_splitting=True,
        use_thumbnail=True,
    )
    # Its gated convolutions multiply three projections: a larger gain would let the last token win.
    model = textured(model_class(config), gain=1.0)
    return Tiny(model, Lfm2VlProcessor(images, tokenizer), prompt)


def prompt(n: int) -> str:
    return "<image>" * n + "What differs?"
