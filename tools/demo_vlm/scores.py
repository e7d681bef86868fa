"""Scores: the share of exact answers on rounds of pictures and chats that were never trained on."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from demo_vlm.model import encode_images, read

if TYPE_CHECKING:
    from collections.abc import Iterable

    from demo_vlm.batches import Batch, Round

HELD_OUT = 10**9
"""Seeds from here on are never trained on."""


def scores_of(model: Any, rounds: Iterable[Round]) -> dict[str, Any]:
    """By kind of picture and of question: the share of answers whose every token, and end, is right."""
    right: dict[str, list[bool]] = defaultdict(list)
    for drawn in rounds:
        pool = encode(model, drawn.pixels)
        for batch in drawn.batches:
            best = np.array(mx.argmax(read(model, pool, arrays(batch))[0], axis=-1))
            for row, first, end, kind in batch.exchanges:
                exact = bool((best[row, first - 1 : end - 1] == batch.tokens[row, first:end]).all())
                right[kind].append(exact)
                right[kind.partition("/")[0]].append(exact)
    shares = {kind: round(float(np.mean(answers)), 4) for kind, answers in sorted(right.items())}
    return {"exact": shares, "answers": {kind: len(right[kind]) for kind in shares}}


def encode(model: Any, pixels: list[np.ndarray]) -> mx.array:
    """Features `[N, hidden]` of all pictures, in their order."""
    features = []
    for group in pixels:
        for first in range(0, len(group), 128):
            encoded = encode_images(model.vision_tower, mx.array(group[first : first + 128]))
            features.append(mx.stop_gradient(encoded.reshape(-1, encoded.shape[-1])))
            mx.eval(features[-1])
    return mx.concatenate(features)


def arrays(batch: Batch) -> dict[str, mx.array]:
    """A batch as the model takes it."""
    names = ("tokens", "slots", "answers", "positions", "places")
    return {name: mx.array(getattr(batch, name)) for name in names}
