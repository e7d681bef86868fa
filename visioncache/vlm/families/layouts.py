"""Layouts: how the inputs of several images stand together in one request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np

from visioncache.vlm.families.joining import beside, cut, filled_up, joined, of_no_image, under_each_other

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True)
class Layout:
    """Which inputs belong to images, and where one image's end.

    `pixels` names the arrays that only the vision side reads (the first one identifies a request);
    `companions` the small ones that come with them and that others read too.
    """

    pixels: tuple[str, ...] = ("pixel_values",)
    companions: tuple[str, ...] = ()
    axis: int = 0
    """Along which the pixels of several images lie: 1 where a batch axis of one stands before it."""
    indices: tuple[str, ...] = ()
    """Those of `pixels` that say where others lie. Floats stand in for them: a model that takes NaN for zero
    raises all the same where a stand-in reaches it, as after `detach`."""
    numpy: bool = False
    """Set where the processor looks at the pixels with numpy, so that stand-ins must be numpy's too."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of everything that belongs to images."""
        return (*self.pixels, *self.companions)

    def inseparable(self, images: Any) -> bool:  # noqa: ARG002
        """Tell whether these images, as the image processor is given them, must be processed together."""
        return False

    def fits(self, outputs: dict[str, Any]) -> bool:  # noqa: ARG002
        """Tell whether an image processor's outputs have this layout; a setting can change their form."""
        return True

    def is_stacked(self, inputs: dict[str, Any]) -> bool:  # noqa: ARG002
        """Tell whether no image can be cut out, as of inputs of several requests that somebody stacked."""
        return False

    def images(self, inputs: dict[str, Any]) -> list[dict[str, Any]]:
        """The inputs of each image of a request, in order."""
        raise NotImplementedError

    def arrayed(self, outputs: dict[str, Any]) -> dict[str, Any]:
        """Make one array where an image processor gives a list of an image's views."""
        for name in self.pixels:
            views = outputs.get(name)
            if isinstance(views, (list, tuple)) and not isinstance(views[0], (list, tuple)):
                outputs[name] = np.stack(views)
        return outputs

    def flattened(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """A prompt's inputs with arrays in the place of objects that hold them."""
        return inputs

    def folded(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """The inputs that `flattened` made arrays of, as the model takes them."""
        return inputs

    def completed(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """A request's inputs, with what the model reads and its processor does not give."""
        return inputs

    def bounded(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Return a request's inputs so that the model itself reads nothing beyond their end."""
        return inputs

    def given(self, features: Any, inputs: dict[str, Any]) -> Any:  # noqa: ARG002
        """Give what the language model receives of the features that a part's inputs became."""
        return features

    def united(self, values: Sequence[Any], inputs: dict[str, Any], join: Callable[..., Any]) -> Any:  # noqa: ARG002
        """Merge a request's features into what the model takes; `inputs` are those of its images."""
        return join(values)

    def gathered(self, outputs: Sequence[dict[str, Any]], images: Sequence[Any]) -> dict[str, Any]:  # noqa: ARG002
        """Join the parts' inputs into those that the image processor makes of all `images` at once."""
        return self.join(outputs)

    def join(self, outputs: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Join inputs where nothing says which image each part belongs to."""
        return {
            name: joined([output[name] for output in outputs], self.axis if name in self.pixels else 0)
            for name in outputs[0]
        }


@dataclass(frozen=True)
class Packed(Layout):
    """Patches of all images, `[patches, values]`, in each array of `pixels`; a grid counts each image's."""

    companions: tuple[str, ...] = ("image_grid_thw",)

    def is_stacked(self, inputs: dict[str, Any]) -> bool:
        grid = inputs.get(self.companions[0])
        return grid is None or int(np.array(grid).prod(-1).sum()) != len(inputs[self.pixels[0]])

    def images(self, inputs: dict[str, Any]) -> list[dict[str, Any]]:
        own = {name: inputs[name] for name in self.names if name in inputs}
        return cut(own, self.pixels, np.array(inputs[self.companions[0]]).prod(-1))


@dataclass(frozen=True)
class Permuted(Packed):
    """Packed patches whose merged tokens are reordered by a permutation, all images' in one array."""

    companions: tuple[str, ...] = ("image_grid_hw", "image_permutations")

    def images(self, inputs: dict[str, Any]) -> list[dict[str, Any]]:
        grid, order = self.companions
        grids = np.array(inputs[grid])
        # A token merges a square of patches, whose side the number of tokens tells.
        counts = next(
            merged
            for side in range(1, int(grids.max()) + 1)
            if (merged := (-(-grids // side)).prod(-1)).sum() == inputs[order].size
        )
        ends = np.cumsum(counts).tolist()
        packed = super().images({name: inputs[name] for name in inputs if name != order})
        return [
            {**image, order: inputs[order][start:end]}
            for image, start, end in zip(packed, [0, *ends], ends, strict=False)
        ]


@dataclass(frozen=True)
class Rows(Layout):
    """A batch of views `[N, ...]`; without the processor's word each row is an image of its own."""

    def images(self, inputs: dict[str, Any]) -> list[dict[str, Any]]:
        first = inputs[self.pixels[0]]
        count = len(first) if self.axis == 0 else first.shape[self.axis]
        return [
            {
                name: value[:, i : i + 1] if self.axis and name in self.pixels else value[i : i + 1]
                for name, value in inputs.items()
            }
            for i in range(count)
        ]


@dataclass(frozen=True)
class Listed(Layout):
    """A list of images `[channels, height, width]` of any size, or one of them alone."""

    def images(self, inputs: dict[str, Any]) -> list[dict[str, Any]]:
        name = self.pixels[0]
        pixels = inputs[name]
        is_alone = isinstance(pixels, mx.array) and pixels.ndim == 3  # noqa: PLR2004
        return [{name: image} for image in ([pixels] if is_alone else pixels)]


@dataclass(frozen=True)
class Padded(Rows):
    """Rows padded with zeros, at their ends, to the largest of the request; the model cuts that off."""

    def join(self, outputs: Sequence[dict[str, Any]]) -> dict[str, Any]:
        padded = list(outputs)
        for name in self.pixels:
            largest = [max(sizes) for sizes in zip(*(o[name].shape[1:] for o in outputs), strict=True)]
            padded = [{**output, name: filled_up(output[name], largest)} for output in padded]
        return super().join(padded)


@dataclass(frozen=True)
class PaddedTiles(Padded):
    """A row of tiles an image; of images that come in a list of several, none is cut into tiles."""

    def inseparable(self, images: Any) -> bool:
        return isinstance(images, list) and any(isinstance(i, (list, tuple)) and len(i) > 1 for i in images)


@dataclass(frozen=True)
class Beside(Layout):
    """`[prompt, image, ...]`, of one prompt: images lie beside each other in whatever belongs to them.

    Several prompts are one part, since each prompt's images are padded to the most of any.
    """

    axis: int = 1

    def fits(self, outputs: dict[str, Any]) -> bool:
        return hasattr(outputs[self.pixels[0]], "shape")

    def inseparable(self, images: Any) -> bool:
        return isinstance(images, list) and len(images) > 1 and isinstance(images[0], (list, tuple))

    def images(self, inputs: dict[str, Any]) -> list[dict[str, Any]]:
        prompts, count = inputs[self.pixels[0]].shape[:2]
        if prompts > 1:
            return [inputs]
        return [{name: value[:, i : i + 1] for name, value in inputs.items()} for i in range(count)]

    def join(self, outputs: Sequence[dict[str, Any]]) -> dict[str, Any]:
        if len(outputs) == 1:
            return dict(outputs[0])
        return {name: beside([output[name] for output in outputs]) for name in outputs[0]}


@dataclass(frozen=True)
class Tiles(Beside):
    """Tiles beside each other, a prompt's in a row, whose end is padded with tiles of zeros.

    Lists that come with them stay lists by prompt. The model takes no notice of the padding.
    """

    pixels: tuple[str, ...] = ("pixel_values", "pixel_attention_mask")

    def inseparable(self, images: Any) -> bool:  # noqa: ARG002
        return False

    def gathered(self, outputs: Sequence[dict[str, Any]], images: Sequence[Any]) -> dict[str, Any]:
        rest = iter(outputs)
        by_prompt = images if isinstance(images[0], (list, tuple)) else [images]
        none = of_no_image(outputs[0])
        rows = [self.join([next(rest) for _ in own]) if own else none for own in by_prompt]
        most = max(row[self.pixels[0]].shape[1] for row in rows)
        return {name: under_each_other([row[name] for row in rows], most) for name in none}


@dataclass(frozen=True)
class Counted(Layout):
    """The views of all images in one array; the first companion says how many are whose."""

    def images(self, inputs: dict[str, Any]) -> list[dict[str, Any]]:
        views = len(inputs[self.pixels[0]])
        return cut(inputs, self.pixels[:1], inputs.get(self.companions[0], [1] * views))


@dataclass(frozen=True)
class Nameless(Layout):
    """The views of all images in one array; without the processor's word they are one image's."""

    def images(self, inputs: dict[str, Any]) -> list[dict[str, Any]]:
        return [inputs]


@dataclass(frozen=True)
class Pooled(Counted):
    """Counted crops, and which of their patches each token pools; of a video's frames, all in one part."""

    pixels: tuple[str, ...] = ("pixel_values", "image_token_pooling")
    indices: tuple[str, ...] = ("image_token_pooling",)
    companions: tuple[str, ...] = ("image_num_crops", "image_grids", "video_token_pooling", "video_grids")

    def images(self, inputs: dict[str, Any]) -> list[dict[str, Any]]:
        if "image_grids" not in inputs:
            return [inputs]
        pooling = self.pixels[1]
        grids = np.array(inputs["image_grids"])
        tokens = grids[:, :2].prod(-1) + grids[:, 2:].prod(-1)
        images = super().images({name: inputs[name] for name in inputs if name != pooling})
        pooled = cut({pooling: inputs[pooling]}, (pooling,), tokens)
        return [{**image, **own} for image, own in zip(images, pooled, strict=True)]


PACKED = Packed()
ROWS = Rows()
