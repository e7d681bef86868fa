"""Made-up images for workloads: tokens, bytes, and the seconds of each stage of a miss."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from visioncache.events import STAGE_TAGS
from visioncache.study.data import data_path

if TYPE_CHECKING:
    from numpy.typing import NDArray

Published = Literal["servegen-mm-image", "azure-lmm-2025"]


@dataclass(frozen=True)
class ImageModel:
    """Cost of an image, from its tokens: bytes of its features, and the seconds of each stage of a miss.

    A hit skips them all, so a look-up's seconds are their sum. The defaults are Qwen2.5-VL-3B's: 2048
    numbers of two bytes a token, and the stages of a 1280x960 image, which is 1564 tokens, as
    data/results/image_costs has them (mlx-vlm's own stages on an H100; a test compares). Seconds are
    proportional to tokens: measured from 640x480 to 2048x1536, the stages grow with exponents from 0.88 to
    1.13; on another host preprocessing grew with 1.24 to 1.31. `measured` makes one for other models:
    preprocessing is most of a miss for SmolVLM2 and Gemma 3, the tower for Qwen.
    """

    tokens: int | Published = "servegen-mm-image"
    """Of every image, or the published distribution to draw them from."""
    bytes_per_token: int = 4096
    decode_s: float = 0.0071
    """At `at_tokens`, as are the other stages."""
    preprocess_s: float = 0.0564
    tower_s: float = 0.1098
    at_tokens: int = 1564
    fixed_seconds: float = 0.0
    """Spent on any image, however small."""
    exponent: float = 1.0
    """Of the growth of seconds with tokens; a tower whose attention spans the whole image tends to 2."""

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Draw the tokens of so many images."""
        if isinstance(self.tokens, int):
            return np.full(count, self.tokens, np.int64)
        return draw("tokens_per_image", count, rng, source=self.tokens)

    def nbytes(self, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give the bytes of images' features."""
        return tokens * self.bytes_per_token

    def stages(self, tokens: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        """Give the seconds of each stage of a miss, by its name in a trace: `decode_s` and so on."""
        grown = (tokens / self.at_tokens) ** self.exponent
        return {name: getattr(self, name) * grown for name in STAGE_TAGS}

    def seconds(self, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
        """Give the seconds of a miss."""
        return self.fixed_seconds + sum(self.stages(tokens).values(), np.zeros(len(tokens)))


def published(name: Published) -> dict[str, Any]:
    """A published distribution: its parameters, source, licence and how they were obtained."""
    path = data_path("distributions", f"{name}.json")
    if not path.is_file():
        there = sorted(file.stem for file in path.parent.glob("*.json"))
        raise ValueError(f"no distribution {name!r}; there are: {', '.join(there)}")
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def draw(
    what: str, count: int, rng: np.random.Generator, *, source: Published = "servegen-mm-image"
) -> NDArray[np.int64]:
    """Numbers from a published distribution: `images_per_request` or `tokens_per_image`.

    Counts are drawn as they stand; tokens between two quantiles are spread evenly.

    Raises:
        ValueError: there is no such distribution, or it does not tell that.
    """
    content = published(source)
    table = content.get(what)
    if table is None:
        raise ValueError(f"{source} does not tell {what}")
    values, cumulative = np.array(table["values"]), np.array(table["cumulative"])
    at = rng.random(count)
    if what == "images_per_request":
        drawn = values[np.searchsorted(cumulative, at)]
    else:
        drawn = np.interp(at, [0.0, *cumulative], [values[0], *values]).round()
    counts: NDArray[np.int64] = drawn.astype(np.int64)
    return counts
