"""GOT-OCR: one square image a prompt; the prompt holds its tokens already."""

from __future__ import annotations

from mlx_vlm.models.got import Model, ModelConfig, TextConfig, VisionConfig
from mlx_vlm.models.got.processing_got import GotOcrImageProcessor, GotOcrProcessor

from zoo import Batch, Tiny, byte_tokenizer, textured

SIZE, PATCH = 64, 4

BATCH = Batch(images=(1, 1))


def build() -> Tiny:
    tokenizer = byte_tokenizer("<img>", "</img>", "<imgpad>", "<|im_start|>", "<|im_end|>")
    text = TextConfig(
        model_type="got",
        hidden_size=32,
        num_hidden_layers=2,
        intermediate_size=64,
        num_attention_heads=2,
        num_key_value_heads=1,
        rms_norm_eps=1e-6,
        vocab_size=len(tokenizer),
        tie_word_embeddings=False,
    )
    vision = VisionConfig(
        img_size=SIZE,
        patch_size=PATCH,
        embed_dim=32,
        depth=2,
        num_heads=2,
        out_chans=16,
        window_size=3,
        global_attn_indexes=(1,),
    )
    config = ModelConfig(
        text_config=text,
        vision_config=vision,
        model_type="got",
        im_patch_token=tokenizer.convert_tokens_to_ids("<imgpad>"),
        vocab_size=len(tokenizer),
        eos_token_id=tokenizer.eos_token_id,
    )
    processor = GotOcrProcessor(GotOcrImageProcessor(image_size=SIZE), tokenizer)
    return Tiny(textured(Model(config)), processor, prompt, max_images=1)


def prompt(n: int) -> str:
    """Ask as the processor would, which leaves whole conversations alone: its own run is of 256 tokens."""
    image = f"<img>{'<imgpad>' * (SIZE // PATCH // 4) ** 2}</img>\n" * n
    return f"<|im_start|>user\n{image}What is it?<|im_end|><|im_start|>assistant\n"
