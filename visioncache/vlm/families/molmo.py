"""Molmo: its crops of an image overlap, and only some of their tokens have a place in the prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np

from visioncache.vlm.families.family import Family
from visioncache.vlm.families.layouts import Layout

PLACES = "image_input_idx"


@dataclass(frozen=True)
class Placed(Layout):
    """All crops are one image's; of each of their tokens, where in the prompt it goes, or less than 0."""

    pixels: tuple[str, ...] = ("pixel_values", "image_masks")
    companions: tuple[str, ...] = (PLACES,)
    numpy: bool = True

    def images(self, inputs: dict[str, Any]) -> list[dict[str, Any]]:
        return [inputs]

    def completed(self, inputs: dict[str, Any]) -> dict[str, Any]:
        # What goes nowhere is not kept, so its places must go too.
        used = _used(inputs)
        return inputs if used is None else {**inputs, PLACES: inputs[PLACES].reshape(-1)[used][None, None]}

    def given(self, features: Any, inputs: dict[str, Any]) -> Any:
        used = _used(inputs)
        return features if used is None else features.reshape(-1, features.shape[-1])[used][None, None]


class CountedByEnds(Family):
    """Molmo 2, which counts images by the two tokens that end an image's views."""

    def alone(self, model: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        if "image_grids" not in inputs:  # a video
            return inputs
        return {**inputs, "input_ids": mx.array([[model.config.image_end_token_id] * 2])}


def _used(inputs: dict[str, Any]) -> mx.array | None:
    """Which tokens have a place; None for a batch of prompts, where rows of one length are needed."""
    places = inputs.get(PLACES)
    if places is None or (places.ndim > 2 and len(places) > 1):  # noqa: PLR2004
        return None
    return mx.array(np.flatnonzero(np.array(places) >= 0))
