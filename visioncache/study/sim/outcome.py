"""Asked, Option and Outcome: what a policy is given, and what it returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray


class Asked(NamedTuple):
    """Look-ups in order, an element each."""

    keys: NDArray[np.int64]
    """Keys as small integers."""
    sizes: NDArray[np.int64]
    """Capacity that each value takes: its bytes, or 1 each."""
    seconds: NDArray[np.float64]
    """Cost of computing each value."""
    requests: NDArray[np.int64]
    """Request that each is part of: the same number, the same request."""


class Outcome(NamedTuple):
    """Hits and evictions of a policy on a trace."""

    hits: NDArray[np.bool_]
    """Tells for every look-up whether it hit."""
    evictions: int
    note: str = ""
    """How the run differs from the policy as published."""


class Option(NamedTuple):
    """An option of a policy: the values that it may have."""

    told: str
    """In words: "a number from 0"."""
    allows: Callable[[Any], bool]

    @classmethod
    def of(cls, *words: str) -> Option:
        """Make an option that is one of some words."""
        return cls(" or ".join(words), lambda value: value in words)


class CapacityError(ValueError):
    """Say that a capacity is too small for a policy to divide into its parts."""
