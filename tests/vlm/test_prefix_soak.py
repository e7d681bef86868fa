"""Random conversations over prefixes that are evicted, pinned, popped and found again; a sample of `soak.py`.

`VISIONCACHE_SOAK=50` holds fifty times as many turns.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import soak

if TYPE_CHECKING:
    from pathlib import Path

TURNS = int(25 * float(os.environ.get("VISIONCACHE_SOAK", "1")))


@pytest.mark.parametrize(("seed", "family"), list(enumerate(soak.FAMILIES)))
def test_every_turn_is_the_cold_turn_and_every_byte_is_accounted(
    family: str, seed: int, tmp_path: Path
) -> None:
    world = soak.live(family, seed, TURNS, tmp_path)
    assert world.turns >= TURNS
    assert world.reused > 0
