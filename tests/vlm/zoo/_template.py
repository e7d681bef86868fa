"""TEMPLATE: copy to NAME.py, as mlx-vlm calls the family, and say in this line what its images become.

It builds as it stands (LLaVA), so that every step can be tried. docs/develop/add-a-family.md leads through it.
"""

from __future__ import annotations

# 1. The family's own classes. What they are called stands in mlx_vlm/models/NAME/__init__.py.
from mlx_vlm.models.llava import Model, ModelConfig, TextConfig, VisionConfig
from mlx_vlm.models.llava.processing_llava import LlavaProcessor

# 2. The image processor: mlx-vlm's own, or transformers' one that needs no torch (`..._pil_...`).
from zoo import Tiny, byte_tokenizer, textured
from zoo.llava import ImageProcessor

# 3. Small sizes: an image becomes (32 / 8) ** 2 = 16 tokens.
SIZE, PATCH = 32, 8


def build() -> Tiny:
    """Build the model and its processor, without a download."""
    # 4. Every special token that the processor or the config looks up.
    tokenizer = byte_tokenizer("<image>")
    # 5. Two layers, 32 wide. The vocabulary is the tokenizer's.
    text = TextConfig(
        model_type="llama",
        hidden_size=32,
        num_hidden_layers=2,
        intermediate_size=64,
        num_attention_heads=2,
        num_key_value_heads=1,
        vocab_size=len(tokenizer),
    )
    # 6. Three layers where features come from the last but one.
    vision = VisionConfig(
        model_type="clip_vision_model",
        num_hidden_layers=3,
        hidden_size=32,
        intermediate_size=64,
        num_attention_heads=2,
        image_size=SIZE,
        patch_size=PATCH,
    )
    config = ModelConfig(
        text_config=text,
        vision_config=vision,
        model_type="llava",
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vocab_size=len(tokenizer),
    )
    # 7. mlx-vlm's own processor, with settings that fit the sizes above.
    images = ImageProcessor(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE})
    processor = LlavaProcessor(
        images,
        tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    # 8. `textured` draws weights that let the picture decide the answer. Further fields of Tiny: `max_images`
    #    where a prompt holds fewer than three, `tiles` where an entry is less than an image.
    return Tiny(textured(Model(config)), processor, prompt)


def prompt(n: int) -> str:
    """Ask about n images, with the family's own markers."""
    return "<image>\n" * n + "What differs?"
