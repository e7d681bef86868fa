"""DeepSeek-V4.1: an image's patches come in a record, with its place in the prompt."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np

from visioncache.vlm.families.family import ImageByImage
from visioncache.vlm.families.layouts import Packed

if TYPE_CHECKING:
    from collections.abc import Callable

GRID = "image_grid_hw"
RECORDS = "image_records"
"""The records of each prompt, as they came."""


@dataclass(frozen=True)
class Records(Packed):
    """Records of each prompt's images; apart, patches of all in one array, and a grid that counts them."""

    companions: tuple[str, ...] = (GRID,)

    def flattened(self, inputs: dict[str, Any]) -> dict[str, Any]:
        rows = inputs.get(self.pixels[0])
        records = [record for row in rows or () for record in row or ()] if isinstance(rows, list) else []
        if not records:
            return inputs
        grid = mx.array([[record.n_vit_h, record.n_vit_w] for record in records])
        patches = mx.concatenate([record.patches for record in records])
        return {**inputs, self.pixels[0]: patches, GRID: grid, RECORDS: rows}

    def folded(self, inputs: dict[str, Any]) -> dict[str, Any]:
        if RECORDS not in inputs:
            return inputs
        given = dict(inputs)
        patches, grid, rows = given[self.pixels[0]], given.pop(GRID), given.pop(RECORDS)
        ends = iter(np.cumsum(np.array(grid).prod(-1)).tolist())
        start = 0
        folded: list[list[Any]] = []
        for row in rows:
            folded.append([])
            for record in row or ():
                end = next(ends)
                folded[-1].append(replace(record, patches=patches[start:end]))
                start = end
        return {**given, self.pixels[0]: folded}


class Recorded(ImageByImage):
    """An image is encoded by itself, without a prompt."""

    def encode(self, model: Any, embed: Callable[..., Any], inputs: dict[str, Any]) -> None:  # noqa: ARG002
        ((high, wide),) = inputs[GRID].tolist()
        model.encode_image(inputs[self.layout.pixels[0]], high, wide)
