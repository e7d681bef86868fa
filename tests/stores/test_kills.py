"""A DiskStore survives `kill -9` at any moment: every entry is whole or absent, and the bound kept."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from blake3 import blake3

from visioncache.keys import Key
from visioncache.stores import DiskStore

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator

MOMENTS = 300
KEYS = 30
MAX_BYTES = 1_000_000


@pytest.fixture
def order() -> Iterator[Callable[..., int]]:
    """`order(folder=..., ...)` lets writers write and die; returns how many died."""
    script = Path(__file__).with_name("mortal_writer.py")
    with subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def send(**order: Any) -> int:
            print(json.dumps(order), file=process.stdin, flush=True)
            return json.loads(process.stdout.readline())["killed"]

        yield send
        process.stdin.close()


def assert_sound(folder: Path) -> int:
    """Check what must hold after any death; return how many entries were found whole."""
    store = DiskStore(folder, max_bytes=MAX_BYTES)
    entries = len(store)  # opens the index, which repairs it
    files = [path for path in (folder / "entries").rglob("*") if path.is_file()]
    assert entries == len(files)
    assert store.volume() == sum(path.stat().st_size for path in files) <= MAX_BYTES
    found = 0
    for number in range(KEYS):
        for scope in "xy":
            data = store.get(Key.from_source(str(number)).scoped(scope))
            if data is not None:
                data = bytes(data)
                assert blake3(data[32:]).digest() == data[:32]
                found += 1
    assert found == entries
    checked = store.check()
    assert (checked.unindexed, checked.missing, checked.unfinished) == (0, 0, 0)
    store.close()
    assert list((folder / "writers").iterdir()) == []
    return found


def test_writers_killed_at_random_moments(
    tmp_path: Path, order: Callable[..., int], tally: Counter[str]
) -> None:
    rng = random.Random(5)
    killed = found = 0
    for moment in range(MOMENTS):
        writers = rng.choice([1, 1, 1, 3])
        killed += order(
            folder=str(tmp_path / "f"),
            seed=moment,
            writers=writers,
            kills=rng.randrange(writers) + 1,
            after=rng.randrange(12),
            puts=16,
        )
        found += assert_sound(tmp_path / "f")
    tally["writers killed at random moments"] += killed
    assert killed >= MOMENTS
    assert found > MOMENTS


def test_a_writer_killed_at_every_step_in_turn(
    tmp_path: Path, order: Callable[..., int], tally: Counter[str]
) -> None:
    """Every file operation and SQL statement of opening, putting, evicting, replacing, deleting."""
    step = 1
    while order(folder=str(tmp_path / "f"), seed=3, writers=1, puts=24, step=step):
        assert_sound(tmp_path / "f")
        step += 1
    tally["writers killed at every step in turn"] += step - 1
    assert step > 200


def test_a_live_process_repairs_what_another_died_over(tmp_path: Path, order: Callable[..., int]) -> None:
    survivor = DiskStore(tmp_path / "f", max_bytes=MAX_BYTES)
    survivor.put(Key.from_source("mine"), b"mine")
    for seed in range(5):
        order(folder=str(tmp_path / "f"), seed=seed, writers=2, kills=2, after=6, puts=100)
    for number in range(128):  # it looks for the dead now and then
        survivor.put(Key.from_source("mine"), str(number).encode())
    assert len(list((tmp_path / "f" / "writers").iterdir())) == 1
    assert survivor.check()[2:] == (0, 0, 0, 0)
