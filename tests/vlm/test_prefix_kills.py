"""Prefixes in a store survive `kill -9` and damage: an answer is the cold one, from whatever was left.

`VISIONCACHE_SOAK=50` kills and damages fifty times as often.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import warnings
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import zoo
from harness import same
from mortal_asker import FAMILIES, asked, opened, prompts

from visioncache import VisionFeatureCache
from visioncache.stores import DiskStore
from visioncache.vlm import attach
from visioncache.vlm.prefixes import Prefixes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOMENTS = int(2 * float(os.environ.get("VISIONCACHE_SOAK", "1")))


class Survivor:
    """A process that comes after those that died: it asks, and compares with cold answers."""

    def __init__(self, family: str) -> None:
        self.tiny = zoo.build(family)
        self.cold = []
        for prompt in prompts(self.tiny):
            prefixes = Prefixes(VisionFeatureCache(None), self.tiny.model, shortest=2)
            with attach(self.tiny.model, self.tiny.processor, VisionFeatureCache(), prefixes=prefixes):
                self.cold.append(asked(self.tiny, prompt))

    def reads(self, store: str) -> tuple[int, int]:
        """Ask everything of a store; return tokens that were reused, and faults of the store."""
        prefixes = Prefixes(VisionFeatureCache(None, store=opened(store)), self.tiny.model, shortest=2)
        with (
            closing(prefixes.cache) as cache,
            attach(self.tiny.model, self.tiny.processor, VisionFeatureCache(), prefixes=prefixes),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")  # what is damaged is said once
            for prompt, cold in zip(prompts(self.tiny), self.cold, strict=True):
                assert same(asked(self.tiny, prompt), cold)
            assert cache.flush(30)
            self.keys = cache.keys()
            return prefixes.totals().reused, cache.info().store.errors


@pytest.fixture(scope="module", params=FAMILIES)
def survivor(request: pytest.FixtureRequest) -> Survivor:
    return Survivor(request.param)


@pytest.fixture(scope="module")
def order() -> Iterator[Callable[..., dict[str, int]]]:
    """`order(family=..., store=...)` lets askers ask and die; returns how many died."""
    script = Path(__file__).with_name("mortal_asker.py")
    with subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def send(**order: Any) -> dict[str, int]:
            print(json.dumps(order), file=process.stdin, flush=True)
            answer: dict[str, int] = json.loads(process.stdout.readline())
            return answer

        yield send
        process.stdin.close()


@pytest.fixture(params=["disk", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path, start_server: Callable[..., Any]) -> Iterator[str]:
    """Where prefixes are kept: a folder, or a server's address."""
    if request.param == "disk":
        yield str(tmp_path / "store")
    else:
        server = start_server("redis")
        yield server.url
        server.kill()


def family_of(survivor: Survivor) -> str:
    return type(survivor.tiny.model).__module__.split(".")[-2]


def test_askers_killed_at_random_moments_leave_nothing_that_answers_wrongly(
    survivor: Survivor, order: Callable[..., dict[str, int]], store: str
) -> None:
    rng = random.Random(3)
    killed = reused = 0
    for moment in range(MOMENTS):
        askers = rng.choice((1, 1, 2))
        told = {"family": family_of(survivor), "store": store, "askers": askers}
        killed += order(**told, seed=moment, after=rng.randrange(12))["killed"]
        more, faults = survivor.reads(store)
        assert faults == 0
        reused += more
        if "://" not in store:
            with closing(DiskStore(store)) as disk:
                assert disk.check()[2:] == (0, 0, 0, 0)
    assert killed >= MOMENTS
    assert reused > 0


def damaged(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Flip a bit, cut the end off, or take another segment's bytes."""
    kind = rng.randrange(3)
    if kind == 0:
        place = rng.randrange(len(data))
        return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]
    return data[: rng.randrange(len(data))] if kind == 1 else other


@pytest.mark.parametrize("kind", ["disk", "redis"])
def test_what_was_damaged_on_purpose_is_a_miss(
    survivor: Survivor, kind: str, tmp_path: Path, start_server: Callable[..., Any]
) -> None:
    where = str(tmp_path / "store") if kind == "disk" else start_server("redis").url
    rng = random.Random(5)
    survivor.reads(where)
    whole, _ = survivor.reads(where)
    assert whole > 0
    for _ in range(MOMENTS):
        with closing(opened(where)) as raw:
            held = [(key, bytes(raw.get(key))) for key in survivor.keys]
            struck = rng.sample(held, rng.randrange(1, len(held)))
            for key, data in struck:
                raw.put(key, damaged(data, rng.choice([d for k, d in held if k != key]), rng))
        reused, faults = survivor.reads(where)
        assert faults > 0
        assert reused < whole
        assert survivor.reads(where) == (whole, 0)  # it was removed, computed anew and stored


def test_files_that_were_damaged_on_purpose_are_misses(survivor: Survivor, tmp_path: Path) -> None:
    rng = random.Random(7)
    whole = [survivor.reads(str(tmp_path / "store")) for _ in range(2)][1][0]
    for _ in range(MOMENTS):
        files = [path for path in (tmp_path / "store" / "entries").rglob("*") if path.is_file()]
        for path in rng.sample(files, rng.randrange(1, len(files))):
            other = rng.choice([one for one in files if one != path])
            path.write_bytes(damaged(path.read_bytes() or b"\0", other.read_bytes(), rng))
        survivor.reads(str(tmp_path / "store"))
        assert survivor.reads(str(tmp_path / "store")) == (whole, 0)
