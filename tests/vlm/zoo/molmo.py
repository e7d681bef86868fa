"""Molmo: a whole view and overlapping crops of one image, added to the tokens that stand for them."""

from __future__ import annotations

from mlx_vlm.models.molmo import (
    Model,
    ModelConfig,
    MolmoImageProcessor,
    MolmoProcessor,
    TextConfig,
    VisionConfig,
)

from zoo import Batch, Tiny, byte_tokenizer, textured

SIZE, PATCH, SIDE = 32, 4, 4  # each crop becomes SIDE x SIDE tokens

# Its processor lays the crops of all prompts end to end, where the model wants a row for each.
BATCH = Batch(error="Cannot reshape array", generate_error="Cannot reshape array")


def build() -> Tiny:
    tokenizer = byte_tokenizer("<im_patch>", "<im_col>", "<im_start>", "<im_end>")
    text = TextConfig(
        d_model=32,
        n_heads=2,
        n_kv_heads=1,
        n_layers=2,
        mlp_hidden_size=64,
        vocab_size=len(tokenizer),
        embedding_size=len(tokenizer),
        additional_vocab_size=8,
    )
    vision = VisionConfig(
        image_default_input_size=(SIZE, SIZE),
        image_patch_size=PATCH,
        image_pos_patch_size=PATCH,
        hidden_size=64,
        image_emb_dim=32,
        image_num_heads=2,
        image_num_key_value_heads=2,
        image_num_layers=3,
        image_head_dim=16,
        image_mlp_dim=64,
        image_num_pos=(SIZE // PATCH) ** 2 + 1,
        d_model=32,
        vit_layers=[-1, -3],
    )
    images = MolmoImageProcessor(
        max_crops=4,
        overlap_margins=[2, 2],
        base_image_input_size=[SIZE, SIZE],
        image_token_length_w=SIDE,
        image_token_length_h=SIDE,
        image_patch_size=PATCH,
    )
    model = Model(ModelConfig(text_config=text, vision_config=vision))
    return Tiny(textured(model), MolmoProcessor(images, tokenizer), prompt, max_images=1)


def prompt(_: int) -> str:
    return "What differs?"
