"""Florence-2: an encoder-decoder; its encoder reads one picture and a task."""

from __future__ import annotations

from mlx_vlm.models.florence2 import Model, ModelConfig, TextConfig, VisionConfig
from mlx_vlm.models.florence2.processing_florence2 import Florence2Processor
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from zoo import Batch, Tiny, byte_tokenizer, textured

SIZE, TOKENS = 64, 5  # four places and their mean

BATCH = Batch(generate_error="cannot be broadcast")


def build() -> Tiny:
    tokenizer = byte_tokenizer("<image>")
    images = CLIPImageProcessorPil(
        size={"height": SIZE, "width": SIZE}, do_center_crop=False, image_seq_length=TOKENS
    )
    # The processor adds a thousand places and its own image token to the vocabulary.
    processor = Florence2Processor(images, tokenizer)
    text = TextConfig(
        d_model=32,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_position_embeddings=256,
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.eos_token_id,
        encoder_layers=2,
        decoder_layers=2,
    )
    vision = VisionConfig(
        depths=[1, 1, 1, 1],
        dim_embed=[16, 16, 32, 32],
        num_heads=[2, 2, 2, 2],
        num_groups=[2, 2, 2, 2],
        window_size=4,
        image_size=(SIZE, SIZE),
    )
    config = ModelConfig(
        vision_config=vision,
        text_config=text,
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        image_token_id=processor.image_token_id,
        image_token_index=processor.image_token_id,
        eos_token_id=[tokenizer.eos_token_id],
    )
    return Tiny(textured(Model(config), gain=2), processor, prompt, max_images=1)


def prompt(_: int) -> str:
    return "<CAPTION>"
