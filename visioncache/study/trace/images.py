"""Made-up images for workloads: how many tokens, bytes and encode seconds each has."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from visioncache.study.data import data_path

if TYPE_CHECKING:
    from numpy.typing import NDArray

Published = Literal["servegen-mm-image", "azure-lmm-2025"]


@dataclass(frozen=True)
class ImageModel:
    """What an image costs, from its tokens.

    The defaults are Qwen2.5-VL-3B's shapes: 2048 numbers of two bytes a token, and 123 ms of vision
    tower for a 1280x960 image, which is 1564 tokens (measured with MLX on an H100). Seconds are taken
    as proportional to tokens, which is simple and too kind to large images: between 1280x960 and
    2048x1536 two measured sessions grew with an exponent of 1.9. `exponent` and `fixed_seconds` say
    otherwise.
    """

    tokens: int | Published = "servegen-mm-image"
    """Of every image, or the published distribution to draw them from."""
    bytes_per_token: int = 4096
    seconds_per_token: float = 0.123 / 1564
    """At 1564 tokens."""
    fixed_seconds: float = 0.0
    """Spent on any image, however small."""
    exponent: float = 1.0
    """Of the growth of seconds with tokens; attention over a whole image tends to 2."""

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Tokens of so many images."""
        if isinstance(self.tokens, int):
            return np.full(count, self.tokens, np.int64)
        return draw("tokens_per_image", count, rng, source=self.tokens)

    def nbytes(self, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
        """Bytes of images' features."""
        return tokens * self.bytes_per_token

    def seconds(self, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
        """Encode seconds of images."""
        return self.fixed_seconds + self.seconds_per_token * 1564 * (tokens / 1564) ** self.exponent


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
