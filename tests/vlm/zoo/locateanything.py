"""LocateAnything: MoonViT's patches in one array before a Qwen 2 decoder."""

from __future__ import annotations

from mlx_vlm.models.locateanything import (
    ImageProcessor,
    Model,
    ModelConfig,
    Processor,
    TextConfig,
    VisionConfig,
)

from zoo import Tiny, byte_tokenizer, textured

PATCH, SIDE = 8, 64


def build() -> Tiny:
    tokenizer = byte_tokenizer("<img>", "</img>", "<IMG_CONTEXT>")
    text = TextConfig(
        hidden_size=32,
        num_hidden_layers=2,
        intermediate_size=64,
        num_attention_heads=2,
        num_key_value_heads=1,
        vocab_size=len(tokenizer),
        tie_word_embeddings=False,
    )
    vision = VisionConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        patch_size=PATCH,
        init_pos_emb_height=8,
        init_pos_emb_width=8,
    )
    config = ModelConfig(
        text_config=text,
        vision_config=vision,
        image_token_index=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        vocab_size=len(tokenizer),
    )
    processor = Processor(ImageProcessor(patch_size=PATCH, in_token_limit=40), tokenizer)
    model = Model(config)
    rope = model.vision_tower.rope_pos_emb
    rope.max_height = rope.max_width = SIDE  # mlx-vlm makes a table of 512 x 512 for each image
    return Tiny(textured(model, gain=4.0), processor, prompt)


def prompt(n: int) -> str:
    return "".join(f"<image-{i}>" for i in range(1, n + 1)) + "What differs?"
