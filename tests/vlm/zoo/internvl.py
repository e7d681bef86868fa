"""InternVL as transformers lays it out: tiles as in `internvl_chat`, a projector of its own."""

from __future__ import annotations

from mlx_vlm.models.internvl import Model, ModelConfig
from mlx_vlm.models.internvl.config import TextConfig, VisionConfig
from mlx_vlm.models.internvl.processing_internvl import InternVLProcessor
from mlx_vlm.models.internvl_chat import InternVLImageProcessor

from zoo import Tiny, internvl_chat, textured

SIZE, PATCH = 32, 8

BATCH = internvl_chat.BATCH


def build(model_class: type = Model) -> Tiny:
    chat = internvl_chat.build()
    tokenizer = chat.processor.tokenizer
    text = TextConfig(
        model_type="qwen3",
        hidden_size=32,
        num_hidden_layers=2,
        intermediate_size=64,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        rms_norm_eps=1e-6,
        vocab_size=len(tokenizer),
        rope_theta=10000.0,
        max_position_embeddings=512,
        tie_word_embeddings=False,
    )
    vision = VisionConfig(
        model_type="intern_vit",
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=SIZE,
        patch_size=PATCH,
    )
    config = ModelConfig(
        text_config=text,
        vision_config=vision,
        model_type="internvl",
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
    )
    images = InternVLImageProcessor(size=SIZE, dynamic_max_num=4)
    processor = InternVLProcessor(images, tokenizer, num_image_token=(SIZE // PATCH // 2) ** 2)
    return Tiny(textured(model_class(config)), processor, chat.prompt)
