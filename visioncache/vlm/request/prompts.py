"""Prompts: others around the same images, to see whether an image's features depend on their prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np

from visioncache.vlm.fingerprint import is_of_tokens

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST = 511
"""Tokens that a prompt is made longer by: the mask of some models grows with their square."""


def other_prompts(inputs: dict[str, Any], images: set[str], config: Any) -> Iterator[dict[str, Any]]:
    """Give a prompt's inputs for longer ones of other words, then for some that are longer alone.

    Args:
        inputs: the prompt's.
        images: names of the inputs that belong to images, which stay as they are.
        config: the model's configuration, which says which tokens are no words.
    """
    if not _is_prompt(inputs.get("input_ids")):
        return
    beside = {n: v for n, v in inputs.items() if n not in images and _is_beside(v, inputs)}
    for more in _more(length_of(inputs)):
        longer = {**inputs, **{n: _longer(v, more) for n, v in beside.items()}}
        yield {**longer, "input_ids": _of_other_words(longer["input_ids"], config)}
        yield longer


def in_other_words(inputs: dict[str, Any], images: set[str], config: Any) -> Iterator[dict[str, Any]]:
    """Give what is not the images' for other words; for more of them, unless it says more of each token."""
    words = {n: v for n, v in inputs.items() if n not in images}
    if not _is_prompt(words.get("input_ids")):
        yield words
        return
    length = length_of(words)
    if all(_is_beside(v, inputs) or length not in getattr(v, "shape", ()) for v in words.values()):
        beside = {n: v for n, v in words.items() if _is_beside(v, inputs)}
        longer = [{**words, **{n: _longer(v, more) for n, v in beside.items()}} for more in _more(length)]
    else:
        longer = [words]
    for one in longer:
        yield {**one, "input_ids": _of_other_words(one["input_ids"], config)}


def length_of(inputs: dict[str, Any]) -> int:
    """Count the tokens of a prompt; 0 where it has none."""
    ids = inputs.get("input_ids")
    return int(ids.shape[-1]) if _is_prompt(ids) else 0  # type: ignore[union-attr]


def _more(length: int) -> list[int]:
    """Count the tokens to add: up to the longest prompt of as many bits, within bounds; or a single one.

    Odd numbers: a model may treat prompts of even length otherwise.
    """
    room = min((1 << length.bit_length()) - 1 - length, _MOST)
    return [*dict.fromkeys((room - 1 + room % 2 if room else 1, 1))]


def beside_prompt(inputs: dict[str, Any]) -> dict[str, Any]:
    """Give the inputs that are not as long as the prompt: they may decide what becomes of all its images."""
    return {
        n: v for n, v in inputs.items() if not (_is_prompt(inputs.get("input_ids")) and _is_beside(v, inputs))
    }


def _is_prompt(ids: Any) -> bool:
    return isinstance(ids, mx.array) and ids.ndim == 2  # noqa: PLR2004


def _is_beside(value: Any, inputs: dict[str, Any]) -> bool:
    """Tell whether an input has a number for each token of the prompt."""
    is_flat = isinstance(value, mx.array) and value.ndim <= 2  # noqa: PLR2004
    return is_flat and value.shape[-1:] == inputs["input_ids"].shape[-1:]


def _longer(value: mx.array, more: int) -> mx.array:
    return mx.concatenate([value, *[value[..., -1:]] * more], axis=-1)


def _of_other_words(ids: mx.array, config: Any) -> mx.array:
    """Put a neighbour in each word's place: the token before, or the one after where that is no word."""
    tokens = [v for n, v in vars(config).items() if isinstance(v, int) and is_of_tokens(n)]
    now = np.array(ids)

    def is_word(ids: Any) -> Any:
        return (ids >= 0) & (ids <= now.max()) & ~np.isin(ids, tokens)  # no larger one is sure to be there

    neighbour = np.where(is_word(now - 1), now - 1, now + 1)
    return mx.array(np.where(is_word(now) & is_word(neighbour), neighbour, now)).astype(ids.dtype)
