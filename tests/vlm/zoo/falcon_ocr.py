"""Falcon-OCR: no vision tower; patches are projected, and tokens of a picture see each other."""

from __future__ import annotations

from mlx_vlm.models.falcon_ocr import Model, ModelConfig
from mlx_vlm.models.falcon_ocr.processing_falcon_ocr import FalconOCRProcessor

from zoo import Batch, Tiny, byte_tokenizer, textured

MARKS = ("image_cls", "image_reg_1", "image_reg_2", "image_reg_3", "image_reg_4")

BATCH = Batch(one_size=True)


def build() -> Tiny:
    tokenizer = byte_tokenizer("<|image|>", "<|end_of_image|>", "<|OCR_PLAIN|>", *(f"<|{m}|>" for m in MARKS))
    config = {
        "model_type": "falcon_ocr",
        "dim": 32,
        "n_layers": 2,
        "n_heads": 2,
        "head_dim": 16,
        "n_kv_heads": 1,
        "vocab_size": len(tokenizer),
        "ffn_dim": 64,
        "max_seq_len": 1024,
        "img_id": tokenizer.convert_tokens_to_ids("<|image|>"),
        "img_end_id": tokenizer.convert_tokens_to_ids("<|end_of_image|>"),
        "eos_id": tokenizer.eos_token_id,
        **{f"{m}_token_id": tokenizer.convert_tokens_to_ids(f"<|{m}|>") for m in MARKS},
    }
    processor = FalconOCRProcessor(tokenizer, dict(config))
    return Tiny(textured(Model(ModelConfig.from_dict(config))), processor, prompt, max_images=1)


def prompt(_: int) -> str:
    return "plain"  # the processor writes the rest of the prompt, the image's mark included
