"""IndicOCR: Qwen3.5 with another vocabulary."""

from __future__ import annotations

from mlx_vlm.models import indic_ocr

from zoo import Tiny, qwen3_5


def build() -> Tiny:
    return qwen3_5.build(indic_ocr)
