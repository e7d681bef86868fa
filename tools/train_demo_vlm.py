"""Train the demo model from scratch with MLX, evaluate it on pictures it never saw, and write it out.

python tools/train_demo_vlm.py --out data/models/demo-vlm            # as shipped: a GPU, minutes
python tools/train_demo_vlm.py --out /tmp/try --steps 50 --scale 1   # a look at it, on any CPU
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_flatten, tree_map
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent))

from demo_vlm.batches import Batch, Loader, make_batch
from demo_vlm.model import build, logits_of, loss_of, make_config, make_tokenizer, save

HELD_OUT = 10**9
"""Seeds from here on are never trained on."""


def main() -> None:
    """Parse, train, evaluate, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="the folder to write the model to")
    parser.add_argument("--steps", type=int, default=6000, help="optimiser steps (default 6000)")
    parser.add_argument("--minutes", type=float, help="stop after so long; the schedule follows the clock")
    parser.add_argument("--scale", type=int, default=4, help="32 images a step times this (default 4)")
    parser.add_argument("--lr", type=float, default=1.5e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2, help="processes that draw pictures")
    parser.add_argument("--start", type=Path, help="go on from this checkpoint (.safetensors)")
    parser.add_argument("--evaluate", type=int, default=40, help="held-out batches at the end")
    options = parser.parse_args()
    if options.start and not options.start.is_file():
        parser.error(f"--start: no file {options.start}")

    tokenizer = make_tokenizer()
    config = make_config(tokenizer)
    model = build(config, options.seed)
    if options.start:
        model.load_weights(str(options.start))
    size = sum(weight.size for _, weight in tree_flatten(model.parameters()))
    print(f"{size / 1e6:.2f} M parameters on {mx.default_device()}")
    train(model, options)
    scores = evaluate(model, options.evaluate, options.scale)
    save(model, config, tokenizer, options.out)
    (options.out / "scores.json").write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(scores, indent=1))


def train(model: Any, options: argparse.Namespace) -> None:
    """Adam over answers' tokens; bfloat16 arithmetic on a GPU, float32 weights throughout."""
    chats = 12 * options.scale
    loader = Loader(options.seed * 1_000_000, options.scale, chats, options.workers)
    optimizer = optim.AdamW(options.lr, betas=[0.9, 0.98], weight_decay=0.03)
    low = mx.bfloat16 if mx.default_device().type == mx.DeviceType.gpu else mx.float32

    def loss_fn(weights: Any, batch: Any) -> mx.array:
        model.update(tree_map(lambda w: w.astype(low), weights))
        return loss_of(model, batch)

    weights = model.parameters()
    optimizer.init(weights)

    def step(weights: Any, batch: Any) -> Any:
        loss, gradients = mx.value_and_grad(loss_fn)(weights, batch)
        gradients, _ = optim.clip_grad_norm(gradients, 1.0)
        return loss, optimizer.apply_gradients(gradients, weights)

    start, losses = time.perf_counter(), []
    try:
        with tqdm(total=options.steps, unit="step", mininterval=5) as bar:
            for number, batch in enumerate(loader):
                spent = (time.perf_counter() - start) / 60
                done = max(number / options.steps, spent / options.minutes if options.minutes else 0)
                if done >= 1:
                    break
                warm = min(1, (number + 1) / 200)
                optimizer.learning_rate = mx.array(
                    options.lr * warm * (0.5 + 0.5 * math.cos(math.pi * done) + 0.002)
                )
                loss, weights = step(weights, arrays(batch))
                mx.eval(loss, weights, optimizer.state)
                losses.append(loss.item())
                if number in {0, 1, 2, 10, 50}:
                    bar.write(f"step {number}: loss {losses[-1]:.3f}, {time.perf_counter() - start:.1f} s")
                bar.update()
                if number % 50 == 0:
                    bar.set_postfix(loss=f"{np.mean(losses[-50:]):.4f}")
                if number and number % 1000 == 0:
                    options.out.mkdir(parents=True, exist_ok=True)
                    checkpoint = dict(tree_flatten(weights))
                    mx.save_safetensors(str(options.out / "checkpoint.safetensors"), checkpoint)
    finally:
        loader.stop()
    model.update(weights)
    (options.out / "checkpoint.safetensors").unlink(missing_ok=True)


def arrays(batch: Batch) -> dict[str, Any]:
    """A batch as the model takes it."""
    return {
        "pixels": [mx.array(p) for p in batch.pixels],
        "tokens": mx.array(batch.tokens),
        "slots": mx.array(batch.slots),
        "answers": mx.array(batch.answers),
        "positions": mx.array(batch.positions),
    }


def evaluate(model: Any, batches: int, scale: int) -> dict[str, float]:
    """Share of exact answers, each token and its end right, on held-out scenes and augmentations."""
    # What is shipped is float16, so that is what is scored.
    model.update(tree_map(lambda w: w.astype(mx.float16).astype(mx.float32), model.parameters()))
    mx.eval(model.parameters())
    right: dict[str, list[bool]] = defaultdict(list)
    for number in range(batches):
        batch = make_batch(HELD_OUT + number, scale, 12 * scale)
        best = np.array(mx.argmax(logits_of(model, arrays(batch)), axis=-1))
        for row, first, end, kind in batch.exchanges:
            exact = best[row, first - 1 : end - 1] == batch.tokens[row, first:end]
            right[kind].append(bool(exact.all()))
    return {
        **{kind: round(float(np.mean(answers)), 4) for kind, answers in right.items()},
        **{f"{kind}_answers": len(answers) for kind, answers in right.items()},
    }


if __name__ == "__main__":
    main()
