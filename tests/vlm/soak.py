"""Hold random conversations for long over prefixes that come and go, and compare each turn with a cold one.

    python tests/vlm/soak.py --turns 10000           # worlds from seed 0 on, half an hour
    python tests/vlm/soak.py --turns 200 --seed 7    # one world again

A world has three models of the same weights: one that is attached all along to caches of small budgets, a
twin that never knows a prefix, and one that is attached to nothing. Every turn is asked of all three.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import time
import warnings
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

if __name__ == "__main__":  # as pytest does
    sys.path.insert(0, str(Path(__file__).resolve().parent))

import mlx.core as mx
import psutil
from soaked.world import NOTED, World

if TYPE_CHECKING:
    from collections.abc import Iterator

FAMILIES = ("qwen2_5_vl", "gemma4", "lfm2_vl", "qwen3_5", "llava")
"""Positions of images, a sliding window of 64 tokens, a short convolution, recurrent state, none of these."""
TURNS_A_WORLD = 200
GROWTH = 24 << 20
"""Bytes that the process may grow by after the first quarter of a world: libraries warm up."""
ARRAYS = 16
"""Arrays that models note for themselves, at most."""


def live(family: str, seed: int, turns: int, folder: Path) -> World:
    """Live in a world for so many turns.

    Raises:
        AssertionError: an answer is another one, bytes are accounted wrongly, or something grows.
    """
    limit = mx.set_cache_limit(0)  # or a buffer that was free and large enough would hold more than its array
    with closing(World(family, seed, folder / str(seed))) as world:
        where = f"{family}, seed {seed}"
        resident = 0
        while world.turns < turns:
            wrong = world.turn() or world.press() or (world.held() if world.turns % 10 == 0 else "")
            assert not wrong, f"{where}, turn {world.turns}: {wrong}"
            if not resident and world.turns >= turns // 4:
                resident = _resident()
        wrong = world.clear()
        assert not wrong, f"{where}, at the end: {wrong}"
        assert _resident() - resident < GROWTH, f"{where}: the process grew"
        (first, few), (last, many) = world.bare[0], world.bare[-1]
        assert last - first < NOTED, f"{where}: {last - first} bytes more are alive, with all caches empty"
        assert many - few < ARRAYS, f"{where}: {many - few} arrays more are alive, with all caches empty"
    mx.set_cache_limit(limit)
    return world


def _resident() -> int:
    gc.collect()
    return int(psutil.Process().memory_info().rss)


def worlds(seed: int, turns: int, family: str | None = None) -> Iterator[World]:
    """Live in one world after the other, until so many turns were asked in all."""
    asked = 0
    while asked < turns:
        with tempfile.TemporaryDirectory(prefix="visioncache-soak-") as folder:
            kind = family or FAMILIES[seed % len(FAMILIES)]
            world = live(kind, seed, min(turns - asked, TURNS_A_WORLD), Path(folder))
        asked, seed = asked + world.turns, seed + 1
        yield world


def main() -> None:
    """Parse the command line and soak; an AssertionError says the world and the turn."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--turns", type=int, default=1000, help="how many to ask (default 1000)")
    parser.add_argument("--seed", type=int, default=0, help="the first world's (default 0)")
    parser.add_argument("--family", help="one family instead of some")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    turns = reused = tokens = struck = 0
    start = time.monotonic()
    for number, world in enumerate(worlds(given.seed, given.turns, given.family), 1):
        turns, struck = turns + world.turns, struck + world.struck
        reused, tokens = reused + world.reused, tokens + world.tokens
        print(
            f"{number} worlds, {turns:,} turns, {reused / tokens:.0%} of {tokens:,} tokens reused, {struck} struck by "
            f"^C, {time.monotonic() - start:.0f} s; go on with --seed {given.seed + number}",
            flush=True,
        )


if __name__ == "__main__":
    main()
