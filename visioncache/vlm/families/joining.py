"""Joining: the inputs of several images end to end or side by side, and cut apart again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence


def cut(inputs: dict[str, Any], long: Sequence[str], counts: Any) -> list[dict[str, Any]]:
    """One dict an image: of `long` inputs as many rows as it counts, of each other its one."""
    ends = np.cumsum(np.array(counts)).tolist()
    return [
        {name: value[start:end] if name in long else value[i : i + 1] for name, value in inputs.items()}
        for i, (start, end) in enumerate(zip([0, *ends], ends, strict=False))
    ]


def joined(values: list[Any], axis: int) -> Any:
    """Arrays end to end, or row by row in a list where rows differ in shape; lists likewise."""
    if isinstance(values[0], mx.array):
        if axis == 0 and len({value.shape[1:] for value in values}) > 1:
            return [row for value in values for row in value]
        return values[0] if len(values) == 1 else mx.concatenate(values, axis=axis)
    if isinstance(values[0], np.ndarray):
        return np.concatenate(values, axis=axis)
    return [item for value in values for item in value]


def beside(values: list[Any]) -> Any:
    """Arrays side by side; lists by prompt, of the one prompt, likewise."""
    if isinstance(values[0], list):
        return [[item for value in values for item in value[0]]]
    return (mx if isinstance(values[0], mx.array) else np).concatenate(values, axis=1)


def of_no_image(outputs: dict[str, Any]) -> dict[str, Any]:
    """A prompt's inputs without images: no tile, empty lists."""
    return {name: [[]] if isinstance(value, list) else value[:, :0] for name, value in outputs.items()}


def under_each_other(rows: list[Any], most: int) -> Any:
    """Rows of tiles as one array, each filled with zeros; lists as one list."""
    if isinstance(rows[0], list):
        return [item for row in rows for item in row]
    pad = (mx if isinstance(rows[0], mx.array) else np).pad
    filled = [pad(row, [(0, 0), (0, most - row.shape[1]), *[(0, 0)] * (row.ndim - 2)]) for row in rows]
    return filled[0] if len(filled) == 1 else joined(filled, 0)


def filled_up(rows: mx.array, sizes: Sequence[int]) -> mx.array:
    gaps = [(0, size - own) for size, own in zip(sizes, rows.shape[1:], strict=True)]
    return mx.pad(rows, [(0, 0), *gaps]) if any(gap for _, gap in gaps) else rows
