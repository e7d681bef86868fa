"""Family: everything that caching has to know about a family of models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from visioncache.vlm.trees import concatenate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from visioncache.vlm.families.image_processors import Preprocessor
    from visioncache.vlm.families.layouts import Layout


@dataclass(frozen=True)
class Family:
    """How one family of models is cached.

    Stored is the output of `seam` for one image alone, after `keep`. A request's values are put
    together by `join`, and handed back by `inject`. An odd family is a subclass that overrides a method.
    """

    name: str
    """Its package in `mlx_vlm.models`."""
    seam: str
    """Where features are caught: the path of a submodule, or the name of a method of the model."""
    layout: Layout
    """How the inputs of a request's images stand together."""
    inject: Literal["seam", "kwarg"] = "kwarg"
    """How a model is given features: as mlx-vlm's own `cached_image_features`, where that path is exact,
    or as the output of the seam."""
    granularity: Literal["image", "tile", "request"] = "image"
    """The content of one entry: an image; a tile, where only a processor could say whose it is; or all
    images of a request, where what an image becomes depends on those beside it."""
    axis: int = 0
    """Along which the values of a request's images are joined."""
    preprocessor: str | Callable[[Any, str], Preprocessor] = "image_processor"
    """The processor's way from images to pixels: an attribute of it, `name()`: a function of its module,
    called image by image, or a class for the one processor that has neither. Empty where mlx-vlm has no
    processor for the family: nothing before the tower can be skipped then."""
    kin: tuple[str, ...] = ()
    """mlx-vlm's other packages with the same code to embed prompts."""
    video: bool = False
    """Set where videos take the same way, as `pixel_values_videos` and `video_grid_thw`."""
    side_outputs: str = ""
    """Other things that are stored beside the features, for the table."""
    proven: tuple[str, ...] = ("embeddings", "tokens")
    """The results that the tests see to be the same with a cache as without, wherever they run."""
    recognised: str = ""
    """The warning about a family that is not in the table, but laid out as others are."""

    # What follows is the same for all but a few, which are subclasses.
    entrances: ClassVar[tuple[str, ...]] = ("get_input_embeddings",)
    """The model's methods that look at pixels, other than through one of these."""
    preparing: ClassVar[tuple[str, ...]] = ()
    """The model's methods that cut pixels before it embeds them: they are given pixels, and no tickets."""
    embedder: ClassVar[str] = ""
    """The submodule that embeds prompts, where the model itself only hands its calls on."""
    vision: ClassVar[str] = ""
    """The submodule that makes features, where it does not lie beside the language model but in it."""
    projector: ClassVar[str] = ""
    """The submodule of the language model that makes the features of a family without a tower."""
    kept: ClassVar[tuple[str, ...]] = ()
    """Pixels that are stored beside the features, because the model reads them again later."""
    settings: ClassVar[tuple[str, ...]] = ()
    """Settings of the model's configuration that decide how it encodes, and that it reads at every call."""

    def takes(self, inputs: dict[str, Any]) -> bool:  # noqa: ARG002
        """Tell whether a prompt's images may be looked up; another input can decide what they become."""
        return True

    def keep(self, output: Any) -> Any:
        """Return the part of the seam's output that is stored: all that the language model is given."""
        return output

    def give(self, value: Any) -> Any:
        """Return a stored value in the form of the seam's output."""
        return value

    def join(self, values: Sequence[Any]) -> Any:
        """Merge the values of a request's images into the form that the model expects."""
        return concatenate(self.axis)(values)

    def values(self, model: Any, own: list[Any], inputs: dict[str, Any]) -> list[Any]:
        """Return the values that the model is given, in the order in which the seam is called."""
        if not own:
            return []
        if self.calls(model, inputs):
            return [one for of_all_calls in own for one in of_all_calls]
        return [self.layout.united(own, inputs, self.join)]

    def calls(self, model: Any, inputs: dict[str, Any]) -> int | None:  # noqa: ARG002
        """Return how often the model calls the seam for one request's inputs, where that is not once."""
        return None

    def encode(self, model: Any, embed: Callable[..., Any], inputs: dict[str, Any]) -> None:
        """Encode the inputs of one image, by way of the seam.

        Args:
            model: the model.
            embed: the model's own way to embed a prompt.
            inputs: the prompt's, with one image's in the place of all images'.
        """
        embed(**self.alone(model, inputs))

    def alone(self, model: Any, inputs: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Return inputs for one image alone, where the model compares a prompt with its images."""
        return inputs


@dataclass(frozen=True)
class First(Family):
    """Families with a seam that returns the features first, or in a batch of one."""

    def keep(self, output: Any) -> Any:
        return output[0]


@dataclass(frozen=True)
class Separate(Family):
    """Families that are given one array an image, in a list."""

    def join(self, values: Sequence[Any]) -> Any:
        return list(values)


@dataclass(frozen=True)
class ImageByImage(Family):
    """Families with a seam that is called image by image."""

    def values(self, model: Any, own: list[Any], inputs: dict[str, Any]) -> list[Any]:  # noqa: ARG002
        return own
