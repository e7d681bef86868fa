"""SmolVLM: Idefics 3 with a processor of its own."""

from __future__ import annotations

from mlx_vlm.models.smolvlm import Model
from mlx_vlm.models.smolvlm.processing_smolvlm import SmolVLMProcessor
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

from zoo import Tiny, idefics3


def build() -> Tiny:
    return idefics3.build(Model, SmolVLMProcessor, SmolVLMImageProcessorPil)
