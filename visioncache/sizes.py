"""Bytes of a feature value, and how bytes and counts are written: `"2 GiB"`, `1 image`."""

from __future__ import annotations

import math
import numbers
import re
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_DECIMAL = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY = {"KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}
_SIZE = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([KMGT]?I?)B?\s*", re.IGNORECASE)


def leaves(value: Any) -> Iterator[Any]:
    """Yield every array of a value: an array, or a nested tuple, list or dict of arrays and None.

    Raises TypeError for a leaf that is neither an array nor None.
    """
    if isinstance(value, (tuple, list)):
        for item in value:
            yield from leaves(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from leaves(item)
    elif value is not None:
        if not _is_array(value):
            raise TypeError(
                f"a feature value is an array, or a tuple, list or dict of arrays; "
                f"found {type(value).__name__}"
            )
        yield value


def nbytes(value: Any) -> int:
    """Count the bytes of the whole tree of a value, without evaluating it; a shared array counts once."""
    if _is_array(value):
        return int(value.nbytes)
    return sum(leaf.nbytes for leaf in {id(leaf): leaf for leaf in leaves(value)}.values())


def _is_array(value: Any) -> bool:
    return hasattr(value, "nbytes") and hasattr(value, "shape") and hasattr(value, "dtype")


def dtype_of(value: Any) -> str | None:
    """Return the name of an array's dtype, numpy's or MLX's; None for anything else."""
    return str(value.dtype).removeprefix("mlx.core.") if hasattr(value, "dtype") else None


def parse_size(size: float | str) -> int:
    """Parse a size into bytes: `500_000_000`, `"500MB"` (10**6) or `"2 GiB"` (2**30); else ValueError."""
    amount: Any = math.nan
    if isinstance(size, str):
        match = _SIZE.fullmatch(size)
        if match:
            unit = match[2].upper()
            scale = _DECIMAL.get(unit) or _BINARY.get(unit)
            if scale:
                amount = float(match[1]) * scale if "." in match[1] else int(match[1]) * scale
    elif isinstance(size, numbers.Real) and not isinstance(size, bool):  # numpy's numbers too
        amount = size
    if not abs(amount) <= sys.maxsize:  # nor NaN, nor infinity
        raise ValueError(
            f"{size!r} is not a size: give a number of bytes, or text such as '2 GiB' or '500MB'"
        )
    whole: int = round(amount)
    return whole


def format_size(size: float) -> str:
    """Write bytes as people read them: `1_610_612_736` is `1.5 GiB`."""
    if abs(size) < 2**10:
        return f"{size:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        size /= 2**10
        if abs(size) < 999.5:  # noqa: PLR2004  # what would round to four digits is the next unit's
            return f"{size:.3g} {unit}"
    size /= 2**10
    return f"{size:.3g} TiB" if abs(size) < 999.5 else f"{size:,.0f} TiB"  # noqa: PLR2004


def count(number: int, one: str, many: str = "") -> str:
    """Write a number of things: `1 image`, `2 images`, `3 misses`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
