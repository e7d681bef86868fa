"""d1: LFM2-VL, which reads decisions off the answer's first token too."""

from __future__ import annotations

from mlx_vlm.models.d1 import Model

from zoo import Tiny, lfm2_vl

prompt = lfm2_vl.prompt


def build() -> Tiny:
    return lfm2_vl.build(Model)
