"""Boundaries: where prefill pauses, so that what lies before can be continued.

A boundary depends on nothing behind it, but for an image that begins there. Prompts that begin alike
pause alike, with what is known and without: that is why a warm turn equals the cold one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

Pauses = Literal["content", "steps"]
"""At the ends of images and turns, or where mlx-vlm itself pauses (every `prefill_step_size` tokens)."""

SHORTEST = 16
"""Tokens between two boundaries, where an image lies between them: fewer cost more apart than they save."""
TEXT = 4
"""Times as many, where only text does: it is prefilled again in the call that the new tokens need anyway."""
LONGEST_TEXT = 512
"""Tokens of text after which a boundary comes anyway."""

Span = tuple[int, int]


def boundaries(
    ids: np.ndarray,
    images: Sequence[Span],
    ends: Collection[int],
    *,
    step: int,
    pauses: Pauses,
    shortest: int = SHORTEST,
) -> list[int]:
    """List where prefill pauses in a prompt: token positions, ascending, before the last token.

    Args:
        ids: the prompt's tokens.
        images: where each image's tokens begin and end, in order.
        ends: the tokens that end a turn.
        step: the most tokens that are prefilled at once.
        pauses: by what is in the prompt, or by mlx-vlm's steps alone.
        shortest: the fewest tokens between two pauses; four times as many where no image lies between them.
    """
    last = len(ids) - 1  # the last token is what the first answer comes from
    if pauses == "steps":
        return list(range(step, last + 1, step))
    turns = {*(np.flatnonzero(np.isin(ids, [*ends])) + 1).tolist()}
    wanted = sorted(turns.union(*images)) if images else sorted(turns)
    found: list[int] = []
    at = 0
    for place in [*(place for place in wanted if place <= last), None]:
        end = last if place is None else place
        found += _cuts(at, end, images, step)
        at = found[-1] if found else 0
        if place is not None and place - at >= shortest * (1 if _has_image(at, place, images) else TEXT):
            found.append(place)
            at = place
    return found


def _cuts(begin: int, end: int, images: Sequence[Span], step: int) -> list[int]:
    """Where a stretch is cut that is too long: earlier where it is text than where it is an image."""
    most = step if _has_image(begin, end, images) else min(step, LONGEST_TEXT)
    return list(range(begin + most, end, most))


def _has_image(begin: int, end: int, images: Sequence[Span]) -> bool:
    """Tell if part of an image lies in a stretch."""
    return any(first < end and begin < past for first, past in images)
