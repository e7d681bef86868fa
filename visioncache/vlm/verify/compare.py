"""Compare: how far two runs of one request lie apart, and what is to be said of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import mlx.core as mx

from visioncache.memory import on_gpu

if TYPE_CHECKING:
    from visioncache.vlm.verify.watch import Run

SLIGHT_GIVEN = {"float32": 1e-4, "float16": 0.02, "bfloat16": 0.06}
"""How far inputs may lie apart, over their largest, and be called off by last bits: images are encoded one by
one, and a batched tower sums in another order."""
SLIGHT_IN_TF32 = 1e-3
"""The same of float32 on a GPU, which may multiply with 10 bits of it (TF32)."""
SLIGHT_LOGITS = 0.1
"""Largest difference of the first token's logits, over their standard deviation."""


class Verdict(StrEnum):
    """Name how a run compares with one without a cache, from best to worst."""

    IDENTICAL = "identical"
    LAST_BITS = "last bits differ"
    DIFFERENT = "DIFFERENT"
    REFUSED = "REFUSED"


@dataclass(frozen=True)
class Difference:
    """How far a run lies from another one."""

    given: float = 0.0
    """The largest difference of what the language model was given, over its largest number; 0.0 only where
    every bit is the same, infinite for other shapes, types or NaN."""
    logits: float = 0.0
    """Largest difference of the first token's logits, over their standard deviation."""
    tokens: bool = False
    """Set where the greedy tokens are others."""
    slight: bool = True
    """Set where `given` is small enough for its dtype to be called last bits."""

    def __bool__(self) -> bool:
        return bool(self.given or self.logits or self.tokens)


def difference(one: Run, other: Run) -> Difference:
    """Compare a run with an expected one, bit by bit."""
    if len(one.given) != len(other.given) or one.logits is None or other.logits is None:
        return Difference(math.inf, math.inf, one.tokens != other.tokens, slight=False)
    worst, slight = 0.0, True
    for expected, found in zip(one.given, other.given, strict=True):
        apart = _apart(expected, found)
        worst = max(worst, apart)
        slight &= apart <= _slight(expected.dtype)
    logits = 0.0
    if not same_bits(one.logits, other.logits):
        deviation = float(mx.std(one.logits.astype(mx.float32)))
        logits = _largest(one.logits, other.logits) / deviation if deviation else math.inf
    return Difference(worst, logits, one.tokens != other.tokens, slight)


def judge(found: Difference, noise: Difference) -> Verdict:
    """Say what a difference amounts to, given the largest that is there without any cache from run to run."""
    unlike_model = found.given <= noise.given and (noise.logits or noise.tokens)
    if not found or (unlike_model and not found.given):
        return Verdict.IDENTICAL
    tokens = found.tokens and not noise.tokens
    slight = found.slight or found.given <= noise.given
    if slight and not tokens and found.logits <= max(SLIGHT_LOGITS, 2 * noise.logits):
        return Verdict.LAST_BITS
    return Verdict.DIFFERENT


def is_near_tie(found: Difference) -> bool:
    """Tell whether no more than last bits differ, but that they decided between two tokens."""
    return found.tokens and found.slight and bool(found.given) and found.logits <= SLIGHT_LOGITS


def said(verdict: Verdict, found: Difference) -> str:
    """Say it in a few words."""
    if verdict is Verdict.LAST_BITS:
        tokens = "other tokens, as without a cache" if found.tokens else "same tokens"
        return f"{verdict}: {found.logits:.2g} of the deviation, {tokens}"
    if verdict is Verdict.DIFFERENT:
        far = f"{found.logits:.2g} of the deviation" if math.isfinite(found.logits) else "not comparable"
        return f"{verdict}: {far}{', other tokens' if found.tokens else ''}"
    return str(verdict)


def same_bits(one: mx.array, other: mx.array) -> bool:
    """Tell whether two arrays have one dtype, one shape and the same bits."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    first, second = (mx.contiguous(array).reshape(-1).view(mx.uint8) for array in (one, other))
    return bool(mx.array_equal(first, second).item())


def _slight(dtype: mx.Dtype) -> float:
    if dtype == mx.float32 and on_gpu():
        return SLIGHT_IN_TF32
    return SLIGHT_GIVEN.get(str(dtype).removeprefix("mlx.core."), 0.0)


def _apart(expected: mx.array, found: mx.array) -> float:
    if same_bits(expected, found):
        return 0.0
    if expected.shape != found.shape or expected.dtype != found.dtype:
        return math.inf
    if not mx.issubdtype(expected.dtype, mx.floating):
        return math.inf
    scale = float(mx.abs(expected.astype(mx.float32)).max())
    apart = _largest(expected, found)
    return max(apart / scale, math.ulp(0.0)) if scale else math.inf


def _largest(one: mx.array, other: mx.array) -> float:
    """Return the largest difference; infinity where it is none that can be compared (NaN)."""
    if one.shape != other.shape:
        return math.inf
    largest = float(mx.abs(one.astype(mx.float32) - other.astype(mx.float32)).max())
    return largest if math.isfinite(largest) else math.inf
