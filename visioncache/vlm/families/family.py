"""Family: what is to be said of a family of models for its images to be cached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from visioncache.vlm.trees import concatenate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from visioncache.vlm.families.image_processors import Maker
    from visioncache.vlm.families.layouts import Layout


def _same(value: Any) -> Any:
    return value


def _unchanged(_: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    return inputs


_END_TO_END = concatenate(0)


@dataclass(frozen=True)
class Family:
    """How one family of models is cached.

    What is stored is what `seam` returns for one image alone, after `keep`. A request's values are put
    together by `join`, and handed back by `inject`.
    """

    name: str
    """Its package in `mlx_vlm.models`."""
    seam: str
    """Where features are caught: the path of a submodule, or the name of a method of the model."""
    layout: Layout
    """How the inputs of a request's images stand together."""
    inject: Literal["seam", "kwarg"] = "kwarg"
    """How a model is given features: as mlx-vlm's own `cached_image_features`, where that path is exact,
    or as what the seam returns."""
    keep: Callable[[Any], Any] = _same
    """What of the seam's output is stored: all that the language model is given."""
    give: Callable[[Any], Any] = _same
    """What the seam returns instead of what was stored: the shape of its own output."""
    join: Callable[[Sequence[Any]], Any] | None = _END_TO_END
    """The values of a request's images in one. Without it the seam is called for each image, and returns
    that image's value."""
    calls: Callable[[Any], int] | None = None
    """How often a model calls the seam for one request, where that is not once: what is kept is then
    the list of what it returned."""
    granularity: Literal["image", "tile", "request"] = "image"
    """What one entry holds: an image; a tile, where only a processor could say whose it is; or all
    images of a request, where what an image becomes depends on those beside it."""
    processor: bool = True
    """Whether mlx-vlm has a processor for it: without one nothing before the tower can be skipped."""
    maker: str | Callable[[Any, str], Maker] = "image_processor"
    """What makes pixels of images: an attribute of the processor, `name()`: a function of the
    processor's module, called image by image, or a class for the one processor that has neither."""
    entrances: tuple[str, ...] = ("get_input_embeddings",)
    """The model's methods that look at pixels, other than through one of these."""
    embedder: str = ""
    """The submodule that has these methods, where the model itself only hands its calls on."""
    kept: tuple[str, ...] = ()
    """Pixels that are stored beside the features, because the model reads them again later."""
    projector: str = ""
    """The submodule of the language model that makes the features of a family without a tower."""
    vision: str = ""
    """The submodule that makes features, where it does not lie beside the language model but in it."""
    alone: Callable[[Any, dict[str, Any]], dict[str, Any]] = _unchanged
    """What a model is given to encode one image alone, where it compares prompts with their images."""
    encode: Callable[[Any, dict[str, Any]], Any] | None = None
    """What encodes one image's inputs by way of the seam, where the model first wants a whole prompt."""
    settings: tuple[str, ...] = ()
    """Of the model's configuration, what decides how it encodes."""
    kin: tuple[str, ...] = ()
    """mlx-vlm's other packages whose models see as this family's do: the same code embeds their prompts."""
    video: bool = False
    """Whether videos take the same way, as `pixel_values_videos` and `video_grid_thw`."""
    recognised: str = ""
    """What is said of a family that is not in the table: what of it is known from others."""
    proven: tuple[str, ...] = ("embeddings", "tokens")
    """What the tests see to be the same with a cache as without, wherever they run."""
    side_outputs: str = ""
    """What is stored beside the features, for the table."""
