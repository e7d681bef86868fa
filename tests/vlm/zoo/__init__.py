"""A tiny, randomly initialised model of the real class for every mlx-vlm family.

One module a family, named after mlx-vlm's own; each has `build() -> Tiny`. The processor is mlx-vlm's
own wherever it runs without a hub, over a byte-level tokenizer made here.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_map, tree_map_with_path
from PIL import Image
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

if TYPE_CHECKING:
    from collections.abc import Callable


def _alike(_: int) -> str:
    return "alike"


@dataclass(frozen=True)
class Tiny:
    """A model, the processor that feeds it (or None), and how its prompts name images."""

    model: Any
    processor: Any
    prompt: Callable[[int], str]
    """`prompt(n)` is a question about n images, with the family's own image markers."""
    max_images: int = 3
    """How many images one prompt of this family may hold."""
    as_one_of: Callable[[int], Any] = _alike
    """`as_one_of(n)`: how an image is seen among n of a prompt; in another way it is another entry."""
    tiles: int = 1
    """How many entries an image becomes in a family whose entries are tiles."""
    chunked: bool = True
    """Set where mlx-vlm can prefill in chunks: not where it names an argument that the model does not have."""
    without: str = ""
    """The error of mlx-vlm for a prompt without images, where it answers none (a regular expression)."""
    metal: bool = False
    """Set where its language model is made of Metal kernels, which run nowhere else."""


@dataclass(frozen=True)
class Batch:
    """Describe the prompts that mlx-vlm takes in one batch; a family's own is its module's `BATCH`."""

    images: tuple[int, ...] = (1, 2)
    """How many images stand in each prompt."""
    nested: bool = False
    """Set where each prompt's images come in a list of their own."""
    one_size: bool = False
    """Set where all images must be of one size."""
    error: str = ""
    """Error of mlx-vlm for a batch, attached or not, when it can't take one (a regular expression)."""
    generate_error: str = ""
    """Error of `mlx_vlm.batch_generate`, which hands images over in one flat list."""
    undefined: str = ""
    """Why what `mlx_vlm.batch_generate` answers, or says, is another thing from run to run."""


def batch_of(family: str) -> Batch:
    """Return what mlx-vlm takes of several prompts of a family."""
    batch: Batch = getattr(importlib.import_module(f"{__name__}.{family}"), "BATCH", Batch())
    return batch


_drawn: dict[Any, Any] = {}
"""Weights by family, seed and model, and the random state after they were drawn: most tests want the same."""
_now: list[tuple[str, int]] = []


def build(family: str, seed: int = 0) -> Tiny:
    """Build the tiny model of a family, with weights drawn from `seed`."""
    mx.random.seed(seed)
    _now[:] = [(family, seed)]
    try:
        return importlib.import_module(f"{__name__}.{family}").build()
    finally:
        _now.clear()


def families() -> list[str]:
    """Every family that has a tiny model here."""
    modules = (m.name for m in pkgutil.iter_modules(__path__))
    # `qwen` is what the Qwen families share, `_template` what a new family is copied from.
    return sorted(name for name in modules if name != "qwen" and not name.startswith("_"))


def byte_tokenizer(
    *specials: str,
    eos: str = "<eos>",
    pad: str = "<pad>",
    numbered: dict[str, int] | None = None,
    **kwargs: Any,
) -> Any:
    """A byte-level tokenizer: ids 0-255 are bytes, then `pad`, `eos` and the special tokens.

    Special tokens of `numbered` have the ids that it says.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {**{c: i for i, c in enumerate(alphabet)}, **(numbered or {})}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    specials = (*specials, *(numbered or {}))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(t, special=True, normalized=False) for t in dict.fromkeys((pad, eos, *specials))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=eos, pad_token=pad, bos_token=eos, **kwargs
    )


def photos() -> list[Image.Image]:
    """Three pictures of different sizes and content, the same in every run."""
    rng = np.random.default_rng(7)
    pictures = []
    for width, height in ((64, 48), (40, 72), (56, 56)):
        coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        pictures.append(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    return pictures


def textured(model: Any, gain: float = 3.0) -> Any:
    """The model, with weights that let pictures decide what is answered.

    Position tables of zeros and projections of ones would hide differences between pictures, and
    layers as timid as they are drawn leave the last token of the prompt to name the next one.
    """
    drawn = (*_now, type(model), gain)
    if _now and drawn in _drawn:
        weights, (high, low) = _drawn[drawn]
        mx.random.seed(high << 32 | low)  # a state is its seed, in two halves
        model.update(tree_map(mx.array, weights))  # arrays of its own, which a test may write into
        mx.eval(model.parameters())  # by the thread that may
        return model.eval()

    def weight(path: str, value: mx.array) -> mx.array:
        if not mx.issubdtype(value.dtype, mx.floating) or value.size == 1:
            return value
        if mx.all(value == value.flatten()[0]).item():
            noise = mx.random.normal(value.shape)
            return noise * value.shape[-1] ** -0.5 if value.ndim > 1 else value + 0.1 * noise
        return value * gain if value.ndim > 1 and not re.search("embed_tok|lm_head", path) else value

    model.update(tree_map_with_path(weight, model.parameters()))
    if _now:
        mx.eval(model.parameters())
        _drawn[drawn] = tree_map(mx.array, model.parameters()), mx.random.state[0].tolist()
    return model.eval()
