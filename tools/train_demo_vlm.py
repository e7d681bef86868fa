"""Train the demo model from scratch with MLX, evaluate it on pictures it never saw, and write it out.

    python tools/train_demo_vlm.py --out data/models/demo-vlm  # as shipped: five minutes of a GPU
    python tools/train_demo_vlm.py --out /tmp/try --scale 1 --steps 50 --language-steps 50  # a look at it

The tower comes first, taught by what is true at each place of a picture; then the language model,
over the features of a tower that no longer changes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import multiprocessing
import sys
from collections import deque
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
from mlx import nn
from mlx.utils import tree_flatten, tree_map
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent))

from demo_vlm.batches import KINDS, PLACE_CLASSES, draw_round, together, tower_batches
from demo_vlm.labels import CLASSES, accuracy_of_labels, loss_of_labels
from demo_vlm.model import build, encode_images, loss_of_answers, make_config, make_tokenizer, read, save
from demo_vlm.scores import HELD_OUT, arrays, encode, scores_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

AHEAD = 32
"""Batches or rounds that are drawn before they are asked for."""
CACHE = 16 << 30
"""Bytes that MLX keeps for reuse: batches differ in shape, and kept for all of them, 80 GB are too few."""
TOWER, LANGUAGE = 1, 2
"""Which stream of seeds a stage draws from."""
STREAM = 1_000_000
"""Seeds of a stream, more than any stage draws."""
SEEDS = HELD_OUT // (10 * STREAM)


def main() -> None:
    """Parse, train, evaluate, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="the folder to write the model to")
    parser.add_argument("--steps", type=int, default=1300, help="steps of the tower (default 1300)")
    parser.add_argument("--language-steps", type=int, default=4600, help="of the language model (4600)")
    parser.add_argument("--scale", type=int, default=8, help="batches this many times as large (default 8)")
    parser.add_argument("--tower", type=Path, help="go on from the tower of this checkpoint")
    parser.add_argument("--language", type=Path, help="go on from the language model of this checkpoint")
    parser.add_argument("--lr", type=float, default=1.5e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2, help="processes that draw pictures (default 2)")
    parser.add_argument("--evaluate", type=int, default=5, help="held-out rounds at the end (default 5)")
    options = parser.parse_args()
    if not 0 <= options.seed < SEEDS:
        parser.error(f"--seed {options.seed}: below {SEEDS}, for scores are of pictures from seeds beyond")
    for start in (options.tower, options.language):
        if start and not start.is_file():
            parser.error(f"no checkpoint {start}")

    mx.set_cache_limit(CACHE)
    tokenizer = make_tokenizer()
    config = make_config(tokenizer)
    model = build(config, options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    size = sum(weight.size for _, weight in tree_flatten(model.parameters()))
    print(f"{size / 1e6:.2f} M parameters on {mx.default_device()}")
    for start, part in ((options.tower, "vision_tower"), (options.language, "language_model")):
        if start:
            weights = mx.load(str(start))
            model.load_weights([(n, w) for n, w in weights.items() if n.startswith(part)], strict=False)
    with ProcessPoolExecutor(options.workers, multiprocessing.get_context("spawn")) as workers:
        if not options.tower:
            train_tower(model, options, workers)
        to_half_precision(model)
        mx.clear_cache()  # what the tower's batches took fits none of the language model's
        train_language(model, options, workers)
        workers.shutdown(wait=False, cancel_futures=True)
    to_half_precision(model)
    scores = scores_of(model, [draw_round(HELD_OUT + n, KINDS, uses=1) for n in range(options.evaluate)])
    save(model, config, tokenizer, options.out)
    (options.out / "scores.json").write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(scores, indent=1))


def ahead(workers: Executor, draw: Callable[..., Any], first: int, *arguments: Any) -> Iterator[Any]:
    """Yield `draw(seed, *arguments)` for one seed after the other, drawn ahead by the workers."""
    seeds = itertools.count(first)
    waiting = deque(workers.submit(draw, next(seeds), *arguments) for _ in range(AHEAD))
    while True:
        waiting.append(workers.submit(draw, next(seeds), *arguments))
        yield waiting.popleft().result()


# Training -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stage:
    """Train a model: `put` writes weights into the modules, `loss_fn` takes a batch with them."""

    name: str
    model: Any
    put: Callable[[Any], None]
    loss_fn: Callable[[Any], mx.array]


def train_tower(model: Any, options: argparse.Namespace, workers: Executor) -> None:
    """The tower and heads that read labels off its features."""
    heads = nn.Linear(model.config.vision_config.out_hidden_size, sum(CLASSES))
    tower = model.vision_tower

    def put(weights: Any) -> None:
        tower.update(weights["tower"])
        heads.update(weights["heads"])

    def loss_fn(groups: list[tuple[mx.array, mx.array]]) -> mx.array:
        logits = [(heads(encode_images(tower, pixels)), labels) for pixels, labels in groups]
        return sum(loss_of_labels(x, labels, CLASSES) for x, labels in logits)

    seeds = (options.seed * 10 + TOWER) * STREAM
    drawn = ahead(workers, tower_batches, seeds, 24 * options.scale)
    data = ([(mx.array(pixels), mx.array(labels)) for pixels, labels in groups] for groups in drawn)
    weights = {"tower": tower.trainable_parameters(), "heads": heads.trainable_parameters()}
    descend(Stage("tower", model, put, loss_fn), weights, data, options.steps, options)
    seen = [
        accuracy_of_labels(heads(encode_images(tower, mx.array(pixels))), labels, CLASSES)
        for n in range(16)
        for pixels, labels in tower_batches(HELD_OUT + n, 24)[:1]
    ]
    print(f"labels right on held-out pictures: {np.round(np.nanmean(seen, axis=0), 3).tolist()}")


def train_language(model: Any, options: argparse.Namespace, workers: Executor) -> None:
    """The language model over features of the tower, with heads that tell where a feature is from."""
    heads = nn.Linear(model.config.text_config.hidden_size, sum(PLACE_CLASSES))
    language = model.language_model
    here, there = sum(PLACE_CLASSES[:3]), PLACE_CLASSES[3:]

    def put(weights: Any) -> None:
        language.update(weights["language"])
        heads.update(weights["heads"])

    def loss_fn(data: tuple[mx.array, dict[str, mx.array]]) -> mx.array:
        pool, batch = data
        logits, states = read(model, pool, batch)
        places = heads(states[1])[..., :here], heads(states[2])[..., here:]
        return (
            loss_of_answers(logits, batch)
            + 0.1 * loss_of_labels(places[0], batch["places"][..., :3], PLACE_CLASSES[:3])
            + 0.5 * loss_of_labels(places[1], batch["places"][..., 3:], there)
        )

    def data() -> Iterator[tuple[mx.array, dict[str, mx.array]]]:
        drawn = ahead(workers, draw_round, (options.seed * 10 + LANGUAGE) * STREAM)
        while True:
            part = together([next(drawn) for _ in range(options.scale)])
            pool = encode(model, part.pixels)
            for batch in part.batches:
                yield pool, arrays(batch)

    weights = {"language": language.trainable_parameters(), "heads": heads.trainable_parameters()}
    descend(Stage("language", model, put, loss_fn), weights, data(), options.language_steps, options)


def descend(stage: Stage, weights: Any, data: Iterator[Any], steps: int, options: argparse.Namespace) -> None:
    """AdamW with a warm-up and a cosine; a checkpoint every 250 steps and at the end."""
    optimizer = optim.AdamW(options.lr, betas=[0.9, 0.98], weight_decay=0.03)
    optimizer.init(weights)

    def loss_fn(weights: Any, batch: Any) -> mx.array:
        stage.put(weights)
        return stage.loss_fn(batch)

    gradient = mx.value_and_grad(loss_fn)
    losses: list[float] = []
    for number in tqdm(range(1, steps + 1), stage.name, mininterval=10):
        rate = options.lr * min(1, number / 60) * (0.502 + 0.5 * math.cos(math.pi * number / steps))
        optimizer.learning_rate = mx.array(rate)
        loss, gradients = gradient(weights, next(data))
        gradients, _ = optim.clip_grad_norm(gradients, 1.0)
        weights = optimizer.apply_gradients(gradients, weights)
        mx.eval(loss, weights, optimizer.state)
        losses.append(loss.item())
        if number % 50 == 0:
            tqdm.write(f"{stage.name} {number}: loss {np.mean(losses[-50:]):.4f}")
        if number % 250 == 0 or number == steps:
            stage.put(weights)
            checkpoint = dict(tree_flatten(stage.model.parameters()))
            mx.save_safetensors(str(options.out / f"{stage.name}.safetensors"), checkpoint)


def to_half_precision(model: Any) -> None:
    """Round all weights to what is shipped, which is what counts."""
    model.update(tree_map(lambda w: w.astype(mx.float16).astype(mx.float32), model.parameters()))
    mx.eval(model.parameters())


if __name__ == "__main__":
    main()
