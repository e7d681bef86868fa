"""Attention that is computed in the same way every time, so that equal inputs give equal tokens.

For one query MLX's CUDA build has two kernels, cuDNN's and its own, and which it takes changes from run
to run. Their last bits differ, and a near tie between two tokens falls one way or the other: with no
cache at all, too. A mask leaves neither kernel, but operations that are the same
whenever they are asked for. Prompts, and the images in them, are computed as before.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import mlx.core as mx

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def repeatable_attention() -> Iterator[str]:
    """Mask the attention of single queries inside the block, on CUDA; gives what to say of it in a result."""
    if not mx.cuda.is_available():
        yield ""
        return
    original = mx.fast.scaled_dot_product_attention

    def attention(
        queries: mx.array, keys: mx.array, values: mx.array, *, mask: Any = None, **options: Any
    ) -> Any:
        if queries.shape[2] == 1 and (mask is None or isinstance(mask, str)):
            mask = mx.ones((1, 1, 1, keys.shape[2]), mx.bool_)  # "causal" hides nothing from the last one
        return original(queries, keys, values, mask=mask, **options)

    mx.fast.scaled_dot_product_attention = attention
    try:
        yield "attention of single queries masked, so that it repeats"
    finally:
        mx.fast.scaled_dot_product_attention = original
