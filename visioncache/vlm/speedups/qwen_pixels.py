"""Patches: what mlx-vlm's own image processor of the Qwens makes of a picture, bit for bit, sooner.

It makes a float of every byte, twice, and copies all of them several times on one core; mlx copies them
once more. But a byte has only 256 values: here the bytes themselves are cut into patches, where mlx
computes, and looked up in a table of what the processor makes of each. On a CPU numpy does so, which is
several times as fast there as mlx.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from PIL import Image

from visioncache.memory import on_gpu
from visioncache.recent import Recent
from visioncache.vlm.patching.functions import is_from
from visioncache.vlm.patching.instances import class_of
from visioncache.vlm.speedups.resize import resized

if TYPE_CHECKING:
    from collections.abc import Callable

_MODULE, CLASS = "mlx_vlm.models.qwen3_vl.processing_qwen3_vl", "Qwen3VLImageProcessor"
_METHODS = ("__call__", "_process_one", "_resolved_size")
_FUNCTIONS = ("_flatten_images", "_to_numpy_image", "_smart_resize_image", "_resize_video_frames")
_PILLOWS = ("convert", "copy", "resize", "tobytes")
_NUMPYS = {
    name: getattr(np, name)
    for name in ("array", "asarray", "concatenate", "empty", "repeat", "stack", "transpose")
}
"""What the processor's own way calls, which a user may put code of their own in the place of."""
_LIMITS = {"min_pixels", "max_pixels", "resized_height", "resized_width"}
"""Arguments that a call may pass: they decide how large a picture becomes, and nothing else."""
_VALUES = 256

_largest: Recent[Any, int] = Recent(256)
"""By all that decides what is made of a picture: how many pixels the largest has that was compared."""

Array = Any
"""Of mlx where that computes on a GPU, else of numpy."""


class QwenPixels:
    """A shorter way through an image processor, which is taken as long as it leads to the same bits.

    The processor itself fills the table, from a picture that has every value in every channel. What it
    makes of that picture, and of one that it has to resize, must be what is made of them here; this is
    seen to again whenever a setting of it has changed, and for each picture larger than all in this process.
    Otherwise, and for anything but one RGB picture, the processor is asked; and so it is while a function
    that it calls is not the library's own.
    """

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        self._filled: tuple[Any, Array | None] = (None, None)

    @classmethod
    def of(cls, processor: Any) -> QwenPixels | None:
        """For mlx-vlm's `Qwen3VLImageProcessor` (Qwen2-VL's and 2.5's too), for no class derived from it."""
        known = getattr(sys.modules.get(_MODULE), CLASS, None)
        is_known = class_of(processor) is known and all(hasattr(known, name) for name in _METHODS)
        return cls(processor) if is_known else None

    def is_of(self, processor: Any) -> bool:
        """Tell whether this is the processor whose table it has."""
        return processor is self._processor

    def process(
        self, original: Callable[..., Any], settings: str, images: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """Make `pixel_values` `[patches, values]` and `image_grid_thw` of images, as the processor does.

        Args:
            original: the processor's own way.
            settings: an identity of all that decides what it makes of an image.
            images: what it was called with.
            args: what else by position: nothing that mlx-vlm passes.
            kwargs: limits of the picture's size, in pixels.
        """
        one = images[0] if isinstance(images, list) and len(images) == 1 else None
        if isinstance(one, Image.Image) and one.mode == "RGB" and not args and kwargs.keys() <= _LIMITS:
            table = self._table(original, settings)
            if table is not None:
                codes, grid = self._codes(one, kwargs)
                pixels = self._pixels(codes, table)
                if on_gpu():
                    mx.eval(pixels)
                name = settings, on_gpu()
                if one.width * one.height > _largest.get(name, 0):
                    return self._compared(name, one, pixels, original(images, **kwargs))
                return {"pixel_values": pixels, "image_grid_thw": np.array([grid], np.int64)}
        return original(images, *args, **kwargs)

    def _compared(self, name: Any, image: Image.Image, pixels: Array, theirs: Any) -> Any:
        """Return what the processor makes of a picture; give the table up where it is something else."""
        if np.array_equal(np.array(pixels), theirs["pixel_values"]):
            _largest[name] = image.width * image.height
        else:
            self._filled = name, None
        return theirs

    def _codes(self, image: Image.Image, limits: dict[str, int]) -> tuple[Array, tuple[int, int, int]]:
        """Rows of the table `[patches, channels, area]` for a picture's values, and the patches' grid."""
        height, width = self._processor._resolved_size(image.height, image.width, **limits)  # noqa: SLF001
        pixels = _bytes_of(image, (width, height))
        side, merge = self._processor.patch_size, self._processor.merge_size
        rows, columns = height // side, width // side
        blocks = pixels.reshape(rows // merge, merge, side, columns // merge, merge, side, 3)
        values = blocks.transpose(0, 3, 1, 4, 6, 2, 5).reshape(rows * columns, 3, side * side)
        codes = values.astype(_where().uint16) + _where().arange(3, dtype=_where().uint16)[:, None] * _VALUES
        return codes, (1, rows, columns)

    def _pixels(self, codes: Array, table: Array) -> Array:
        """Arrange patches as `pixel_values`, a still picture being all frames of its film."""
        count, _, area = codes.shape
        frames = self._processor.temporal_patch_size
        looked_up = _where().broadcast_to(_where().take(table, codes)[:, :, None], (count, 3, frames, area))
        return looked_up.reshape(count, -1)

    def _table(self, original: Callable[..., Any], settings: str) -> Array | None:
        """Compute the table of each channel's values, or None where the processor does something else."""
        if not self._is_as_shipped():
            return None
        filled = self._filled  # as one: another thread may fill it for other settings
        if filled[0] != (settings, on_gpu()):
            self._filled = filled = (settings, on_gpu()), self._fill(original)
        return filled[1]

    def _is_as_shipped(self) -> bool:
        """Tell whether what the processor's own way calls is the libraries' own."""
        module, kind = sys.modules[_MODULE], class_of(self._processor)
        return (
            not vars(self._processor).keys() & {*_METHODS}
            and all(is_from(module, name, vars(kind).get(name)) for name in _METHODS)
            and all(is_from(module, name, vars(module).get(name)) for name in _FUNCTIONS)
            and all(is_from(Image, name, vars(Image.Image).get(name)) for name in _PILLOWS)
            and is_from(Image, "fromarray", Image.fromarray)
            and all(getattr(np, name) is own for name, own in _NUMPYS.items())
        )

    def _fill(self, original: Callable[..., Any]) -> Array | None:
        side = 2 * self._processor.patch_size * self._processor.merge_size
        height, width = self._processor._resolved_size(side, side)  # noqa: SLF001
        if height * width < _VALUES:
            return None
        rng = np.random.default_rng(0)
        values = np.resize(np.arange(_VALUES, dtype=np.uint8), height * width)
        every = np.stack([rng.permutation(values) for _ in range(3)], axis=-1).reshape(height, width, 3)
        told = [self._told(original, picture) for picture in (every, every[1:, : width * 2 // 3])]
        if any(pixels.shape != rows.shape or pixels.dtype != np.float32 for pixels, rows in told):
            return None
        table = np.empty(3 * _VALUES, np.float32)
        first, rows_of_first = told[0]
        table[rows_of_first] = first
        same = all(np.array_equal(table[rows], pixels) for pixels, rows in told)
        return _where().array(table) if same else None

    def _told(self, original: Callable[..., Any], picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The numbers that the processor makes of a picture, and the table's row for each."""
        image = Image.fromarray(picture)
        theirs = original([image])
        codes, grid = self._codes(image, {})
        rows = self._pixels(codes, _where().arange(3 * _VALUES))
        as_here = theirs["image_grid_thw"].tolist() == [list(grid)]
        return theirs["pixel_values"], np.array(rows if as_here else [])


def _where() -> Any:
    """Return the library that makes the pixels: they are the same bits in each."""
    return mx if on_gpu() else np


def _bytes_of(image: Image.Image, size: tuple[int, int]) -> Array:
    """Return the bytes `[height, width, 3]` of an RGB image that is resized to a width and a height."""
    if size == image.size:
        return _where().array(np.asarray(image))
    return resized(image, size) if on_gpu() else np.asarray(image.resize(size, Image.Resampling.BICUBIC))
