"""DeepSeek-OCR: a view of 1024 pixels, and tiles of images that are larger than 640; one image a prompt."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, Any

from mlx import nn
from mlx_vlm.models import deepseekocr
from mlx_vlm.models.deepseekocr.processing_deepseekocr import DeepseekOCRProcessor
from mlx_vlm.models.deepseekocr.sam import SAMEncoder

from zoo import Batch, Tiny, byte_tokenizer, textured

if TYPE_CHECKING:
    from types import ModuleType

WIDTH = 16
TEXT: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "moe_intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "n_shared_experts": 1,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "kv_lora_rank": 16,
    "q_lora_rank": None,
    "qk_rope_head_dim": 0,
    "v_head_dim": 16,
    "qk_nope_head_dim": 0,
    "first_k_dense_replace": 1,
}

BATCH = Batch(images=(1, 1))


def build(package: ModuleType = deepseekocr, kind: type = DeepseekOCRProcessor) -> Tiny:
    processor = quiet(kind)
    config = package.ModelConfig.from_dict(
        {
            "model_type": package.__name__.rpartition(".")[2],
            "vocab_size": len(processor.tokenizer),
            "image_token_index": processor.image_token_id,
            "language_config": {**TEXT, "vocab_size": len(processor.tokenizer)},
            "vision_config": {
                "model_type": "vision",
                "layers": 2,
                "hidden_size": WIDTH,
                "intermediate_size": 32,
                "num_attention_heads": 2,
            },
            "projector_config": {"input_dim": 2 * WIDTH, "n_embed": 32},
        }
    )
    model = package.Model(config)
    model.sam_model = sam(WIDTH)
    return Tiny(textured(model), processor, prompt, max_images=1)


def sam(width: int) -> SAMEncoder:
    """A small tower; mlx-vlm fixes the sizes of the real one."""
    encoder = SAMEncoder(
        embed_dim=4,
        depth=1,
        num_heads=1,
        out_chans=8,
        window_size=4,
        global_attn_indexes=(),
        final_out_chans=width,
    )
    encoder.net_2 = nn.Conv2d(8, width, kernel_size=3, stride=2, padding=1, bias=False)
    encoder.net_3 = nn.Conv2d(width, width, kernel_size=3, stride=2, padding=1, bias=False)
    return encoder


def quiet(kind: type) -> Any:
    """A processor, which prints what it adds."""
    tokenizer = byte_tokenizer("<image>", pad="<｜▁pad▁｜>")
    with contextlib.redirect_stdout(io.StringIO()):
        return kind(tokenizer, candidate_resolutions=((1024, 1024),), patch_size=16, downsample_ratio=4)


def prompt(n: int) -> str:
    return "<image>\n" * n + "What is it?"
