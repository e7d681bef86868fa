"""Step 3.7: a whole view of every image, and windows of large ones, in a run of tokens before the question."""

from __future__ import annotations

import math

from mlx_vlm.models.step3p7 import Model, ModelConfig, Step3VLProcessor, TextConfig, VisionConfig

from zoo import Batch, Tiny, byte_tokenizer, textured

BATCH = Batch(error="tokens do not match", generate_error="tokens do not match")
PATCH = 28
MARKS = ("<im_patch>", "<im_start>", "<im_end>", "<patch_start>", "<patch_end>", "<patch_newline>")


def build() -> Tiny:
    tokenizer = byte_tokenizer(*MARKS)
    text = TextConfig(
        hidden_size=32,
        intermediate_size=64,
        num_attention_heads=2,
        num_attention_groups=1,
        num_hidden_layers=2,
        vocab_size=len(tokenizer),
        moe_intermediate_size=32,
        head_dim=16,
        moe_num_experts=4,
        moe_top_k=2,
        share_expert_dim=32,
        moe_layers_enum=(1,),
        layer_types=["full_attention", "full_attention"],
    )
    vision = VisionConfig(width=8, layers=1, heads=1, mlp_ratio=2.0, patch_size=PATCH)
    config = ModelConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=tokenizer.convert_tokens_to_ids("<im_patch>"),
        vocab_size=len(tokenizer),
    )
    processor = Step3VLProcessor(tokenizer)
    # It fixes the sizes of views and windows, and their tokens for patches of 14 pixels.
    processor.num_image_feature_size = tokens_of(processor.image_size)
    processor.num_patch_feature_size = tokens_of(processor.patch_size)
    return Tiny(textured(Model(config)), processor, prompt)


def tokens_of(size: int) -> int:
    """Count the tokens of a square view: the tower halves its sides twice, and rounds up."""
    return math.ceil(size // PATCH / 4) ** 2


def prompt(n: int) -> str:
    """Ask about n images, for which one marker stands."""
    return f"{'<im_patch>' if n else ''}What differs?"
