"""Roofline: what a turn must compute and move, and what that takes on chips by their published figures.

A stage takes as long as its arithmetic or its traffic, whichever is longer, at the rates that a chip is said
to have (Williams et al., "Roofline", CACM 2009). Rates that are reached are lower: seconds are a lower bound.
They are not lower by one share in each stage: beside an H100's measured sessions the tower reaches 4 to 8 %
of them and prefill 4 to 35 %. With decoding and preprocessing as measured, the ratio of the arm with a cache
is at most 0.10 away from the measured one for photographs of 1280x960 or more, and up to 0.27 too low for
640x480 (benchmarks/roofline_error.py; docs/results.md has the figures).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import pandas as pd
from mlx.utils import tree_flatten

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PREDICTED = "predicted"
"""Name of this module's figures wherever they are shown beside measured ones."""


@dataclass(frozen=True)
class Chip:
    """A chip by its published figures."""

    name: str
    flops: float
    """Operations a second in the dtype of the weights, GPU."""
    bandwidth: float
    """Bytes a second of memory."""


# GPU cores x 128 lanes x 2 operations x clock (1.28 GHz in M1, 1.40 in M2, 1.38 in M3, 1.58 in M4) and memory
# bandwidth, as Apple's specifications give them (support.apple.com/specs). M5: "over 4x the peak GPU compute
# performance for AI compared to M4" (Apple, October 2025).
CHIPS = (
    Chip("M1", 2.6e12, 68e9),
    Chip("M1 Pro", 5.2e12, 200e9),
    Chip("M1 Max", 10.4e12, 400e9),
    Chip("M2", 3.6e12, 100e9),
    Chip("M2 Pro", 6.8e12, 200e9),
    Chip("M2 Max", 13.6e12, 400e9),
    Chip("M3", 3.5e12, 100e9),
    Chip("M3 Max", 14.1e12, 400e9),
    Chip("M4", 4.0e12, 120e9),
    Chip("M4 Pro", 8.1e12, 273e9),
    Chip("M4 Max", 16.2e12, 546e9),
    Chip("M5", 16.2e12, 153e9),
)


@dataclass(frozen=True)
class Work:
    """Operations and bytes."""

    flops: float = 0.0
    nbytes: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(self.flops + other.flops, self.nbytes + other.nbytes)

    def seconds(self, chip: Chip) -> float:
        """Say how long a chip takes, bound by whichever is longer."""
        return max(self.flops / chip.flops, self.nbytes / chip.bandwidth)


@dataclass(frozen=True)
class Shape:
    """Describe what decides the work of a model: its weights, and how wide its attention is."""

    tower_weights: float
    """Weights that each patch goes through."""
    tower_bytes: float
    tower_layers: int
    tower_width: int
    patches_per_token: int
    language_weights: float
    """Weights that each token goes through, but for embeddings and the head."""
    language_bytes: float
    layers: int
    width: int
    """Width of all query heads together."""
    head: float
    """Weights that the last token goes through to become logits."""
    window: int = 0
    """Patches that a patch attends to; 0 for all of its image."""

    @classmethod
    def of(cls, model: Any) -> Shape:
        """Read the shape of a model of the Qwen VL kind (`vision_tower`, `language_model`).

        Raises:
            ValueError: it is laid out differently.
        """
        config = model.config
        text, vision = getattr(config, "text_config", config), config.vision_config
        tower, language = getattr(model, "vision_tower", None), getattr(model, "language_model", None)
        if tower is None or language is None or not hasattr(vision, "spatial_merge_size"):
            raise ValueError(f"the roofline reads models laid out as Qwen's, not {type(model).__module__}")
        merge = vision.spatial_merge_size**2
        merger = {n: w for n, w in tree_flatten(tower.parameters()) if "merger" in n}
        inside = {n: w for n, w in tree_flatten(tower.parameters()) if n not in merger}
        embedding = {n: w for n, w in tree_flatten(language.parameters()) if "embed_tokens" in n}
        head = {n: w for n, w in tree_flatten(language.parameters()) if "lm_head" in n}
        body = {n: w for n, w in tree_flatten(language.parameters()) if n not in embedding and n not in head}
        whole = getattr(vision, "fullatt_block_indexes", None)
        windowed = whole is not None and len(whole) < vision.depth
        return cls(
            _weights(inside) + _weights(merger) / merge,
            _nbytes(inside) + _nbytes(merger),
            vision.depth,
            getattr(vision, "hidden_size", None) or vision.embed_dim,
            merge,
            _weights(body),
            _nbytes(body),
            text.num_hidden_layers,
            text.num_attention_heads
            * (getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads),
            _weights(head) or _weights(embedding),
            (vision.window_size // vision.patch_size) ** 2 if windowed else 0,
        )

    def encode(self, tokens: int) -> Work:
        """Say what it takes to encode an image of so many tokens."""
        patches = tokens * self.patches_per_token
        seen = min(self.window or patches, patches)
        attention = 4 * self.tower_layers * self.tower_width * patches * seen
        return Work(2 * self.tower_weights * patches + attention, self.tower_bytes)

    def prefill(self, tokens: int, after: int = 0) -> Work:
        """Say what it takes to prefill so many tokens behind others, up to the first token of the answer."""
        attended = tokens * (after + tokens / 2)
        attention = 4 * self.layers * self.width * attended
        flops = 2 * self.language_weights * tokens + attention + 2 * self.head
        return Work(flops, self.language_bytes + self.head * self.language_bytes / self.language_weights)


QWEN25_VL_3B = Shape(
    tower_weights=640_645_120.0,
    tower_bytes=2 * 668_684_288.0,
    tower_layers=32,
    tower_width=1280,
    patches_per_token=4,
    language_weights=2_774_532_096.0,
    language_bytes=2 * 2_774_773_760.0,
    layers=36,
    width=2048,
    head=311_164_928.0,
    window=64,
)
"""Qwen2.5-VL-3B in bfloat16, as `Shape.of` reads it off the model."""


@dataclass(frozen=True)
class Asked:
    """A turn: its prompt's tokens, those that no turn before had, and the tokens of its images."""

    tokens: int
    new_tokens: int
    images: tuple[int, ...] = ()
    new_images: tuple[int, ...] = ()


def predict(
    shape: Shape, turns: Sequence[Asked], chips: Iterable[Chip] = CHIPS, *, host_s_per_token: float = 0.0
) -> pd.DataFrame:
    """Predict sums of TTFT of a session in each arm, as ratios of `none`: a row a chip and arm.

    Args:
        shape: of the model.
        turns: of the session.
        chips: to predict for.
        host_s_per_token: seconds to decode and preprocess an image, a token of it, on the CPU.

    Returns:
        chip, arm, seconds (at published rates: a lower bound), ratio, and `source`, which is `predicted`.
    """
    rows = []
    for chip in chips:
        seconds = {arm: sum(_turn(shape, chip, arm, one, host_s_per_token) for one in turns) for arm in _ARMS}
        rows += [
            {"chip": chip.name, "arm": arm, "seconds": s, "ratio": s / seconds["none"], "source": PREDICTED}
            for arm, s in seconds.items()
        ]
    return pd.DataFrame(rows)


_ARMS = ("none", "visioncache", "bound", "visioncache+prefixes", "floor")


def _turn(shape: Shape, chip: Chip, arm: str, turn: Asked, host: float) -> float:
    seen = {"none": turn.images, "bound": (), "floor": ()}.get(arm, turn.new_images)
    images = sum(shape.encode(tokens).seconds(chip) + host * tokens for tokens in seen)
    new = turn.new_tokens if arm in ("visioncache+prefixes", "floor") else turn.tokens
    return images + shape.prefill(new, turn.tokens - new).seconds(chip)


def asked(turns: pd.DataFrame, tokens_of_image: int) -> list[Asked]:
    """Read a session's turns off one arm's rows of a result, with images of so many tokens each."""
    found, before = [], 0
    row: Any
    for row in turns.sort_values("turn").itertuples():
        new = row.images - before
        found.append(
            Asked(
                row.prompt_tokens,
                row.prompt_tokens - row.reused_tokens,
                (tokens_of_image,) * row.images,
                (tokens_of_image,) * max(0, new),
            )
        )
        before = row.images
    return found


def _weights(parameters: dict[str, mx.array]) -> float:
    """Count weights; of quantised ones, those that they stand for."""
    total = 0.0
    for name, value in parameters.items():
        if name.endswith((".scales", ".biases")):
            continue
        scales = parameters.get(f"{name.removesuffix('.weight')}.scales")
        if value.dtype == mx.uint32 and scales is not None:
            total += scales.size * 64  # groups of mlx's default size
        elif value.ndim > 1:
            total += value.size
    return total


def _nbytes(parameters: dict[str, mx.array]) -> float:
    return float(sum(value.nbytes for value in parameters.values()))
