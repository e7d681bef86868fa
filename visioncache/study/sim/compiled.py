"""Compiled loops: the same function by numba, where it is installed and there is enough to do."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

COMPILED_FROM = 20_000
"""Look-ups from which a compiled loop is worth its start."""


def has_numba() -> bool:
    """Tell if loops can be compiled."""
    return _njit() is not None


def compiled(loop: Callable[..., Any], length: int) -> Callable[..., Any]:
    """Give a loop over so many look-ups, compiled where that is possible and worth it."""
    return _by_numba(loop) if length >= COMPILED_FROM and has_numba() else loop


@cache
def _njit() -> Any:
    try:
        from numba import njit
    except ImportError:
        return None
    return njit


@cache
def _by_numba(loop: Callable[..., Any]) -> Callable[..., Any]:
    made: Callable[..., Any] = _njit()(nogil=True, cache=True)(loop)
    return made
