"""Labels: what is true at each place of a picture, for the tower to be taught directly.

Answers alone teach a tower slowly: a word of text for a thousand numbers. So while it is trained,
linear heads read off each of its features what is seen there: the thing's shape, colour and size,
the cell, how many things there are, which photograph it is. The heads are thrown away.
"""

from __future__ import annotations

from collections import Counter

import mlx.core as mx
import numpy as np
from demo_vlm.pictures import CELLS, COLOURS, PHOTOS, SHAPES, SIZES, Picture, Thing
from mlx import nn

_KINDS = (*SHAPES, "digit")
_SEEN = ("", *SHAPES, *map(str, range(10)))
_COLOURS = ("", *COLOURS)
_SIZES = ("", *SIZES)
_PHOTOS = tuple(PHOTOS.values())
_MOST = 5
"""One more than the largest count."""
CLASSES = (len(_SEEN), len(_COLOURS), len(_SIZES), len(CELLS), len(_PHOTOS), *[_MOST] * (1 + len(_KINDS)))
"""How many classes each label has."""
UNKNOWN = -1
CHANGES = ("", "colour", "place", "size", "shape")
"""Differences at a place between two scenes."""


def labels_of(picture: Picture, rows: int, columns: int) -> np.ndarray:
    """Labels `[rows * columns, len(CLASSES)]` of a picture's features; UNKNOWN where nothing is true."""
    labels = np.full((rows, columns, len(CLASSES)), UNKNOWN, np.int32)
    if picture.kind == "photo":
        labels[..., 4] = _PHOTOS.index(picture.label)
    elif picture.kind == "plain":
        labels[..., 1] = _COLOURS.index(picture.colour)
    else:
        labels[..., :3] = 0
        labels[..., 3] = _cells(rows, columns)
        for thing in picture.things:
            here = labels[..., 3] == CELLS.index(thing.cell)
            labels[here, 0] = _SEEN.index(thing.digit or thing.shape)
            labels[here, 1] = _COLOURS.index(thing.colour)
            labels[here, 2] = _SIZES.index(thing.size)
        shapes = Counter(thing.shape for thing in picture.things)
        labels[..., 5:] = [len(picture.things), *(shapes[kind] for kind in _KINDS)]
    return labels.reshape(-1, len(CLASSES))


def changes_of(before: Picture, picture: Picture, rows: int, columns: int) -> np.ndarray:
    """Labels `[rows * columns]` of a scene's features: what differs there from the scene before it."""
    if {before.kind, picture.kind} != {"scene"}:
        return np.full(rows * columns, UNKNOWN, np.int32)
    then, now = ({thing.cell: thing for thing in p.things} for p in (before, picture))
    changes = np.array([CHANGES.index(_change(then.get(cell), now.get(cell))) for cell in CELLS])
    return changes[_cells(rows, columns)].reshape(-1)


def _change(then: Thing | None, now: Thing | None) -> str:
    if then is None or now is None:
        return "" if then is now else "place"
    if (then.shape, then.digit) != (now.shape, now.digit):
        return "shape"
    return "colour" if then.colour != now.colour else "size" if then.size != now.size else ""


def _cells(rows: int, columns: int) -> np.ndarray:
    """Which of `CELLS` each feature of a scene lies in, `[rows, columns]`."""
    return np.arange(rows)[:, None] * 3 // rows * 3 + np.arange(columns) * 3 // columns


def loss_of_labels(logits: mx.array, labels: mx.array, classes: tuple[int, ...]) -> mx.array:
    """Mean cross-entropy of logits `[..., sum(classes)]`, over the labels that are known."""
    total, first = mx.array(0.0), 0
    for index, count in enumerate(classes):
        wanted = labels[..., index]
        known = wanted != UNKNOWN
        losses = nn.losses.cross_entropy(logits[..., first : first + count], mx.maximum(wanted, 0))
        total = total + (losses * known).sum() / mx.maximum(known.sum(), 1)
        first += count
    return total


def accuracy_of_labels(logits: mx.array, labels: mx.array, classes: tuple[int, ...]) -> list[float]:
    """Share of known labels that are the likeliest, label by label; NaN where none is known."""
    shares, first = [], 0
    for index, count in enumerate(classes):
        wanted = np.array(labels[..., index])
        right = np.array(mx.argmax(logits[..., first : first + count], axis=-1)) == wanted
        known = wanted != UNKNOWN
        shares.append(float(right[known].mean()) if known.any() else float("nan"))
        first += count
    return shares
