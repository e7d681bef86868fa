"""DeepSeek-OCR 2: a view of 1024 pixels and tiles of 768; a small Qwen2 asks for their features."""

from __future__ import annotations

from mlx_vlm.models.deepseekocr_2 import Model, ModelConfig
from mlx_vlm.models.deepseekocr_2.processing_deepseekocr import DeepseekOCR2Processor

from zoo import Tiny, deepseekocr, textured

WIDTH = 16
ENCODER = {"dim": WIDTH, "layers": 1, "heads": 2, "kv_heads": 1, "intermediate_size": 32}

BATCH = deepseekocr.BATCH
prompt = deepseekocr.prompt


def build() -> Tiny:
    processor = deepseekocr.quiet(DeepseekOCR2Processor)
    config = ModelConfig.from_dict(
        {
            "model_type": "deepseekocr_2",
            "vocab_size": len(processor.tokenizer),
            "image_token_index": processor.image_token_id,
            "language_config": {**deepseekocr.TEXT, "vocab_size": len(processor.tokenizer)},
            "vision_config": {"model_type": "vision", "hidden_size": WIDTH},
            "projector_config": {"input_dim": WIDTH, "n_embed": 32},
        }
    )
    config.vision_config.params = {"qwen2": ENCODER}
    model = Model(config)
    model.sam_model = deepseekocr.sam(WIDTH)
    return Tiny(textured(model), processor, prompt, max_images=1)
