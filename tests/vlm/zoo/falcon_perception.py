"""Falcon Perception: Falcon-OCR's patches; boxes and masks are read from the decoder."""

from __future__ import annotations

from mlx_vlm.models.falcon_perception import Model, ModelConfig
from mlx_vlm.models.falcon_perception.processing_falcon_perception import FalconPerceptionProcessor

from zoo import Batch, Tiny, byte_tokenizer, textured

MARKS = ("image_cls", "image_reg_1", "image_reg_2", "image_reg_3", "image_reg_4", "coord", "size", "seg")

BATCH = Batch(one_size=True)


def build() -> Tiny:
    tokenizer = byte_tokenizer(
        "<|image|>",
        "<|end_of_image|>",
        "<|start_of_query|>",
        "<|REF_SEG|>",
        *(f"<|{m}|>" for m in MARKS),
    )
    config = {
        "model_type": "falcon_perception",
        "dim": 32,
        "n_layers": 2,
        "n_heads": 2,
        "head_dim": 16,
        "n_kv_heads": 1,
        "vocab_size": len(tokenizer),
        "ffn_dim": 64,
        "max_seq_len": 1024,
        "spatial_patch_size": 32,
        "img_id": tokenizer.convert_tokens_to_ids("<|image|>"),
        "img_end_id": tokenizer.convert_tokens_to_ids("<|end_of_image|>"),
        "eos_id": tokenizer.eos_token_id,
        "coord_enc_dim": 16,
        "coord_dec_dim": 32,
        "coord_out_dim": 16,
        "size_enc_dim": 16,
        "size_dec_dim": 32,
        "size_out_dim": 16,
        "segm_out_dim": 16,
        **{f"{m}_token_id": tokenizer.convert_tokens_to_ids(f"<|{m}|>") for m in MARKS},
    }
    processor = FalconPerceptionProcessor(tokenizer, dict(config))
    return Tiny(textured(Model(ModelConfig.from_dict(config))), processor, prompt, max_images=1)


def prompt(_: int) -> str:
    return "a cat"  # the processor writes the rest of the prompt, the image's mark included
