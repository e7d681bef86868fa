"""A process that forks askers, which keep prefixes in a store, and kills them; it talks JSON lines."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import zoo
from harness import prepared
from mlx_vlm.generate import dispatch

from visioncache import VisionFeatureCache
from visioncache.stores import DiskStore, RedisStore
from visioncache.vlm import attach
from visioncache.vlm.prefixes import Prefixes

FAMILIES = ("gemma4", "qwen3_5")
"""Rows of a window and of all; recurrent state beside rows."""
TURNS = (
    "What is it?",
    "A cat on a mat.",
    "Which colour?",
    "Black, with a white spot.",
    "How old is it?",
    "Two.",
)


def prompts(tiny: zoo.Tiny) -> list[str]:
    """A conversation that grows, and a branch of it."""
    spoken = [tiny.prompt(1).replace("What differs?", "") + TURNS[0], *TURNS[1:]]
    grown = ["<eos>".join(spoken[:many]) + "<eos>A:" for many in (1, 3, 5)]
    return [*grown, "<eos>".join([*spoken[:2], "And where?"]) + "<eos>A:"]


def asked(tiny: zoo.Tiny, prompt: str) -> list[Any]:
    """Return tokens and logits of an answer about the first photo."""
    inputs = prepared(tiny, zoo.photos()[:1], prompt)
    ids, pixels = inputs.pop("input_ids"), inputs.pop("pixel_values", None)
    mask = inputs.pop("attention_mask", None)
    steps = dispatch.generate_step(ids, tiny.model, pixels, mask, max_tokens=2, temperature=0.0, **inputs)
    return [(int(token), logits) for token, logits in steps]


def opened(store: str) -> Any:
    """Open a folder, or a server that a busy machine may let wait."""
    return RedisStore(store, timeout=20) if "://" in store else DiskStore(store)


def ask(family: str, store: str, seed: int, progress: int) -> None:
    """Ask at random without an end, and say so byte by byte: as a segment is put, and after each answer."""
    rng = random.Random(seed)
    tiny = zoo.build(family)
    cache = VisionFeatureCache(None, 30_000, store=opened(store))
    cache.subscribe(lambda event: os.write(progress, b".") if event.kind == "put" else None)
    prefixes = Prefixes(cache, tiny.model, shortest=2)
    with attach(tiny.model, tiny.processor, VisionFeatureCache(), prefixes=prefixes):
        while True:
            asked(tiny, rng.choice(prompts(tiny)))
            if rng.random() < 0.3:
                cache.flush(10)
            os.write(progress, b".")
            if cache.keys() and rng.random() < 0.3:
                cache.pop(rng.choice(cache.keys()))


def fork(order: dict[str, Any], seed: int) -> tuple[int, int]:
    """Return an asker's process id, and where to read its progress."""
    end, progress = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(end)
        try:
            ask(order["family"], order["store"], seed, progress)
        finally:
            os._exit(0)
    os.close(progress)
    return pid, end


def main() -> None:
    # Nothing is computed here: what forks may have no threads of MLX's.
    for line in sys.stdin:
        order = json.loads(line)
        rng = random.Random(order["seed"])
        askers = [fork(order, rng.randrange(1 << 30)) for _ in range(order["askers"])]
        heard = 0
        while heard < order["after"] and os.read(askers[0][1], 1):
            heard += 1
        for pid, _ in askers:
            os.kill(pid, signal.SIGKILL)
        for _, end in askers:
            while os.read(end, 4096):
                pass
            os.close(end)
        ends = [os.waitpid(pid, 0)[1] for pid, _ in askers]
        killed = sum(os.WIFSIGNALED(status) for status in ends)
        print(json.dumps({"killed": killed}), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
