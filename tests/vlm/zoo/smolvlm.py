"""SmolVLM: Idefics 3 with a processor of its own."""

from __future__ import annotations

from mlx_vlm.models.smolvlm import Model
from mlx_vlm.models.smolvlm.processing_smolvlm import SmolVLMProcessor
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

from zoo import Batch, Tiny, idefics3

BATCH = Batch(nested=True, generate_error="number of images in the text")


def build() -> Tiny:
    return idefics3.build(Model, SmolVLMProcessor, SmolVLMImageProcessorPil)
