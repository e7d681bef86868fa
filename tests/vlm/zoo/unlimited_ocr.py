"""Unlimited-OCR: DeepSeek-OCR for several images a prompt."""

from __future__ import annotations

from dataclasses import replace

from mlx_vlm.models import unlimited_ocr
from mlx_vlm.models.unlimited_ocr import UnlimitedOCRProcessor

from zoo import Tiny, deepseekocr

BATCH = deepseekocr.BATCH
prompt = deepseekocr.prompt


def build() -> Tiny:
    return replace(deepseekocr.build(unlimited_ocr, UnlimitedOCRProcessor), max_images=3)
