"""DeepSeek-OCR and its kin: a whole view of each image and tiles of large ones, `[tiles, views]`.

The processors cut images while they tokenize; the models project an image's tiles and its view apart.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from itertools import accumulate, pairwise, zip_longest
from typing import TYPE_CHECKING, Any

import mlx.core as mx

from visioncache.vlm.families.deepseek import TILES
from visioncache.vlm.families.family import Family
from visioncache.vlm.families.image_processors import Preprocessor
from visioncache.vlm.families.layouts import Layout
from visioncache.vlm.patching.instances import around

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from visioncache.vlm.patching.instances import Patch

CUT = "tiles"
"""The tiles of an image, where it has any: beside its view while they are apart."""


@dataclass(frozen=True)
class Pairs(Layout):
    """Tiles of all images, and a view of each; `images_spatial_crop` says how many tiles across and down."""

    pixels: tuple[str, ...] = ("pixel_values", CUT)
    companions: tuple[str, ...] = (TILES,)
    fewest: int = 2
    """The fewest tiles that an image is cut into; one that would be fewer is its view alone."""

    def counts(self, inputs: dict[str, Any]) -> list[int]:
        """Return how many tiles each image has."""
        counts = [int(across) * int(down) for across, down in inputs[TILES].tolist()]
        return [count if count >= self.fewest else 0 for count in counts]

    def is_stacked(self, inputs: dict[str, Any]) -> bool:
        return not isinstance(inputs[self.pixels[0]], (list, tuple)) or TILES not in inputs

    def images(self, inputs: dict[str, Any]) -> list[dict[str, Any]]:
        tiles, views = inputs[self.pixels[0]]
        ends = accumulate(self.counts(inputs), initial=0)
        images = []
        for i, (start, end) in enumerate(pairwise(ends)):
            image = {self.pixels[0]: views[i : i + 1], TILES: inputs[TILES][i : i + 1]}
            images.append({**image, CUT: tiles[start:end]} if end > start else image)
        return images

    def completed(self, inputs: dict[str, Any]) -> dict[str, Any]:
        # One image's inputs become a pair, as the model takes them.
        view = inputs.get(self.pixels[0])
        if not isinstance(view, mx.array) or TILES not in inputs:
            return inputs
        rest = {name: value for name, value in inputs.items() if name != CUT}
        tiles = inputs.get(CUT)
        return {**rest, self.pixels[0]: [mx.zeros_like(view) if tiles is None else tiles, view]}


@dataclass(frozen=True)
class Tiled(Family):
    """The tiles of an image are projected together, then its view."""

    layout: Pairs

    def calls(self, model: Any, inputs: dict[str, Any]) -> int:  # noqa: ARG002
        return sum(1 + bool(count) for count in self.layout.counts(inputs))


class TileByTile(Tiled):
    """Each tile of an image is projected alone; of several prompts, each reads the first tiles of all."""

    def calls(self, model: Any, inputs: dict[str, Any]) -> int:  # noqa: ARG002
        return sum(1 + count for count in self.layout.counts(inputs))

    def values(self, model: Any, own: list[Any], inputs: dict[str, Any]) -> list[Any]:  # noqa: ARG002
        tiles = [tile for of_image in own for tile in of_image[:-1]]
        pairs = zip(own, self.layout.counts(inputs), strict=True)
        return [value for of_image, count in pairs for value in (*tiles[:count], of_image[-1])]


class Cut(Preprocessor):
    """`tokenize_with_images`, text by text and image by image."""

    def __init__(self, processor: Any, pixels: str) -> None:
        super().__init__(processor, "image_transform", pixels)

    def patches(self, process: Callable[..., Any], wrapper: Callable[..., Any]) -> list[Patch]:
        processor = self._processor

        def tokenize(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            bound = inspect.signature(original).bind(*args, **kwargs)
            bound.apply_defaults()
            settings = dict(bound.arguments)
            conversation, images = settings.pop("conversation"), settings.pop("images")
            texts = self._texts(conversation.split(processor.image_token), images or ())
            if self.leaves_alone or not texts:  # it says what is wrong
                return original(*args, **kwargs)

            def make(group: list[Any], **same: Any) -> dict[str, Any]:
                tokens, (tiles, views), _, crops, number = original(processor.image_token, group, **same)
                made = {self._pixels: views, TILES: crops, "tokens": [tokens], "empty": [list(tiles.shape)]}
                cut = {CUT: tiles} if Pairs.counts(self._layout, made) != [0] else {}
                return {**made, "number": [number], **cut}

            made = [wrapper(make, [image], **settings) for image in images]
            tens = 100 if settings["image_size"] == 640 else 0  # noqa: PLR2004  # of ten by ten tokens, a tile
            return *self._together(texts, made), self._number(made, tens)

        own = {"tokenize_with_images": around(processor, "tokenize_with_images", tokenize)}
        return [self.patch_of_processor(process, own)]

    _layout = Pairs()

    def _texts(self, texts: list[str], images: Sequence[Any]) -> list[str]:
        """Return the texts around images; nothing where they are not as many as there must be."""
        is_list = any(isinstance(image, (list, tuple)) for image in images)
        return texts if images and not is_list and len(texts) == len(images) + 1 else []

    def _together(self, texts: list[str], made: list[dict[str, Any]]) -> tuple[Any, ...]:
        """Return tokens, pixels, which tokens are images', and how many tiles there are across and down."""
        (first, *_), tokens, mask = made[0]["tokens"][0], [], []
        for text, one in zip_longest(texts, made):
            spelled = self._processor.encode(text, bos=False, eos=False)
            image = one["tokens"][0][1:] if one is not None else []
            tokens += [*spelled, *image]
            mask += [False] * len(spelled) + [True] * len(image)
        cut = [one[CUT] for one in made if CUT in one]
        tiles = mx.concatenate(cut) if cut else mx.zeros(made[0]["empty"][0])
        views = mx.concatenate([one[self._pixels] for one in made])
        crops = mx.concatenate([mx.array(one[TILES]) for one in made])
        return [first, *tokens], [tiles, views], mx.array([False, *mask]), crops

    def _number(self, made: list[dict[str, Any]], of_tile: int) -> int:
        """Return the number of tokens that it gives beside them: each view counts as the first one's."""
        counts = [self._layout.counts(one)[0] for one in made]
        of_view = made[0]["number"][0] - of_tile * counts[0]
        return int(len(made) * of_view + of_tile * self._counted(counts))

    def _counted(self, counts: list[int]) -> int:
        """Return how many tiles it counts: at each image, those of all so far."""
        return sum(accumulate(counts))


class CutApart(Cut):
    """Unlimited-OCR's, which takes one marker for all images, and counts the tiles of each once."""

    def _texts(self, texts: list[str], images: Sequence[Any]) -> list[str]:
        if len(texts) == 2:  # noqa: PLR2004
            texts = [texts[0], *[""] * (len(images) - 1), texts[1]]
        return super()._texts(texts, images)

    def _counted(self, counts: list[int]) -> int:
        return sum(counts)


class CutOnce(Cut):
    """DeepSeek-OCR 2's, which cuts every image into one tile at least, and counts the first image alone."""

    _layout = Pairs(fewest=1)

    def _number(self, made: list[dict[str, Any]], of_tile: int) -> int:  # noqa: ARG002
        return int(made[0]["number"][0])
