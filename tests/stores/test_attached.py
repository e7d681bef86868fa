"""An attached model with a store: a restart encodes nothing, and no interruption leaves half a thing."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import pytest
import zoo
from harness import embedded, greedy, prepared, same
from mlx_vlm.generate import generate_step

from visioncache import VisionFeatureCache
from visioncache.stores import DiskStore
from visioncache.vlm import attach

if TYPE_CHECKING:
    from visioncache.stores import Store

A, B, C = zoo.photos()

RESTARTED = """
import json, sys
import mlx.core as mx, zoo
from blake3 import blake3
from harness import embedded, prepared
from mlx.utils import tree_flatten
from visioncache import VisionFeatureCache
from visioncache.vlm import attach
tiny = zoo.build(sys.argv[2])
cache = VisionFeatureCache(store=sys.argv[1])
with attach(tiny.model, tiny.processor, cache) as attached:
    given = embedded(tiny, prepared(tiny, zoo.photos()[: min(2, tiny.max_images)]))
    counts = attached.stages.totals().counts
cache.close()
digest = blake3()
for name, array in sorted(tree_flatten(given)):
    digest.update(f"{name} {array.dtype} {array.shape}".encode() + memoryview(mx.contiguous(array)).tobytes())
info = cache.info()
print(json.dumps({"counts": {s: counts[s] for s in ("decode", "preprocess", "tower")}, "given": digest.hexdigest(),
                  "from the store": info.store_hits, "errors": info.store.errors}))
"""


def own_loop(work: Any) -> Any:
    """Run a coroutine on a thread of its own: the browser's tests leave a loop running on this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


@pytest.fixture
def tiny() -> zoo.Tiny:
    return zoo.build("qwen2_5_vl")


def kernel(folder: Path, family: str) -> dict[str, Any]:
    """Ask about two photographs in a process that ends, and return what it saw."""
    path = os.pathsep.join([str(Path(zoo.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", RESTARTED, str(folder), family],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl", "gemma3"])
def test_a_restarted_kernel_decodes_preprocesses_and_encodes_nothing(tmp_path: Path, family: str) -> None:
    """Qwen3-VL's values are tuples with DeepStack features; what the language model gets is the same bits."""
    first, second = kernel(tmp_path, family), kernel(tmp_path, family)
    assert first["counts"]["tower"] > 0
    assert second["counts"] == {"decode": 0, "preprocess": 0, "tower": 0}
    assert second["from the store"] > 0
    assert first["errors"] == second["errors"] == 0
    assert second["given"] == first["given"]


def test_tokens_from_the_store_are_the_tokens_of_an_encode(tiny: zoo.Tiny, tmp_path: Path) -> None:
    plain = greedy(tiny, [A, B])
    cache = VisionFeatureCache(max_size=1, store=tmp_path)
    with attach(tiny.model, tiny.processor, cache) as attached:
        for _ in range(3):
            assert greedy(tiny, [A, B]) == plain
            assert cache.flush(60)
        assert attached.stages.totals().counts["tower"] == 2
    assert cache.info().store_hits >= 3


def test_a_stored_value_that_is_not_what_is_expected_is_dropped_from_every_tier(
    tiny: zoo.Tiny, tmp_path: Path
) -> None:
    first = VisionFeatureCache(store=tmp_path)
    with attach(tiny.model, tiny.processor, first):
        right = embedded(tiny, prepared(tiny, [A]))
    entry = first.entries()[0]
    first.put(entry.key, mx.zeros((3, 48)), meta=entry.meta)
    assert first.close()

    cache = VisionFeatureCache(store=tmp_path)
    with attach(tiny.model, tiny.processor, cache) as attached:
        assert same(embedded(tiny, prepared(tiny, [A])), right)
        assert attached.stages.totals().counts["tower"] == 1
    assert cache.close()

    last = VisionFeatureCache(store=tmp_path)
    with attach(tiny.model, tiny.processor, last) as attached:
        assert same(embedded(tiny, prepared(tiny, [A])), right)
        assert attached.stages.totals().counts["tower"] == 0


def test_threads_and_asyncio_executors_share_what_one_of_them_encoded(tiny: zoo.Tiny, tmp_path: Path) -> None:
    plain = embedded(tiny, prepared(tiny, [A, B]))
    cache = VisionFeatureCache(max_size=1, store=tmp_path)

    def ask(_: int) -> dict[str, Any]:
        return embedded(tiny, prepared(tiny, [A, B]))

    async def together() -> list[Any]:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(4) as pool:
            return await asyncio.gather(*(loop.run_in_executor(pool, ask, turn) for turn in range(8)))

    with attach(tiny.model, tiny.processor, cache) as attached:
        for given in own_loop(together()):
            assert same(given, plain)
        assert attached.stages.totals().counts["tower"] == 2
    assert cache.flush(60)
    assert cache.info().store.errors == 0


@pytest.mark.parametrize("block", [0, 1])
def test_an_interrupt_in_the_tower_leaves_nothing_half_stored_in_any_tier(
    tiny: zoo.Tiny, tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = greedy(tiny, [A])
    cache = VisionFeatureCache(store=tmp_path)
    kind = type(tiny.model.vision_tower.blocks[block])
    with attach(tiny.model, tiny.processor, cache):
        with monkeypatch.context() as patch:

            def interrupt(*_: Any, **__: Any) -> None:
                raise KeyboardInterrupt

            patch.setattr(kind, "__call__", interrupt)
            with pytest.raises(KeyboardInterrupt):
                greedy(tiny, [A])
        assert cache.flush(60)
        assert (len(cache), entries(cache)) == (0, 0)
        assert greedy(tiny, [A]) == plain
        assert cache.flush(60)
        assert (len(cache), entries(cache)) == (1, 1)


def entries(cache: VisionFeatureCache) -> int:
    store: Store = DiskStore(cache._tier.store.path)
    return len(store)


def test_a_generator_that_is_closed_early_leaves_whole_entries_only(tiny: zoo.Tiny, tmp_path: Path) -> None:
    plain = greedy(tiny, [A, B])
    cache = VisionFeatureCache(store=tmp_path)
    with attach(tiny.model, tiny.processor, cache):
        inputs = prepared(tiny, [A, B])
        ids, pixels, mask = (
            inputs.pop(name, None) for name in ("input_ids", "pixel_values", "attention_mask")
        )
        steps = generate_step(ids, tiny.model, pixels, mask, max_tokens=50, temperature=0.0, **inputs)
        next(steps)
        steps.close()
    assert cache.close()
    again = VisionFeatureCache(store=tmp_path)
    with attach(tiny.model, tiny.processor, again) as attached:
        assert greedy(tiny, [A, B]) == plain
        assert attached.stages.totals().counts["tower"] == 0
