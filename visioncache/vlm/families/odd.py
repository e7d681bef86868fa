"""Odd families, each of which overrides a method or two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from visioncache.vlm.families.family import Family, First, ImageByImage, Separate
from visioncache.vlm.trees import concatenate

if TYPE_CHECKING:
    from collections.abc import Sequence


class WithNothing(First):
    """Qwen3.5's tower returns a pair; the second is DeepStack features; it has none."""

    def give(self, value: Any) -> Any:
        return value, None


class Omni(Family):
    """Qwen3-Omni's thinker is a model in itself."""

    embedder = "thinker"
    vision = "thinker.vision_tower"


class FirstSeparate(First, Separate):
    """Features come first, and are given image by image."""


class EndToEnd(Family):
    """The seam returns a list, one array a view."""

    def keep(self, output: Any) -> Any:
        return concatenate(0)(list(output))


class Flat(Family):
    """The seam gives an image's tokens in a batch of one, or in none."""

    def keep(self, output: Any) -> Any:
        return output.reshape(-1, output.shape[-1])


class OfStills(Family):
    """Inkling can be told to put the second frames of a video into the slots that stills fill twice."""

    def takes(self, inputs: dict[str, Any]) -> bool:
        return inputs.get("video_temporal_pixels") is None


class Decides(EndToEnd):
    """d1 cuts the padding off before it reads decisions."""

    preparing = ("decision_inputs",)


class OneRow(Family):
    """PaliGemma's tower returns one row."""

    def join(self, values: Sequence[Any]) -> Any:
        return values[0]


class OfTheLanguageModel(Family):
    """Falcon's features are made by a projector of the language model."""

    projector = "language_model.model.img_projector"


class KeepsPixels(OfTheLanguageModel):
    """Falcon Perception makes masks from the pixels, after the prompt was embedded."""

    kept = ("pixel_values",)


class EveryLayer(Family):
    """Granite 4 calls its seam once for each of several layers."""

    def keep(self, output: Any) -> Any:
        return [first for (first,) in output]

    def give(self, value: Any) -> Any:
        return [value]

    def calls(self, model: Any, inputs: dict[str, Any]) -> int:  # noqa: ARG002
        config = model.config
        spatial = config.spatial_target_layers if config.use_spatial_sampling else None
        return len(config.deepstack_layer_map or ()) + len(spatial or ())


class CrossAttended(Family):
    """Mllama's language model attends to the features; there is nothing to put among its tokens."""

    entrances = ("get_input_embeddings", "__call__")


class ByPosition(ImageByImage):
    """Phi-3 places features by the positions of its tokens."""

    vision = "model.vision_embed_tokens"
