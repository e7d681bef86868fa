"""Batches: chats laid out as arrays of fixed shapes, made by worker processes ahead of the trainer."""

from __future__ import annotations

import multiprocessing
import queue
import random
import shutil
import tempfile
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from demo_vlm.chats import Exchange, chat
from demo_vlm.model import MERGE, PATCH, make_tokenizer
from demo_vlm.pictures import Picture, photo, plain, scene, scene_like

if TYPE_CHECKING:
    from collections.abc import Iterator

GRIDS = ((14, 14), (22, 22), (16, 26), (26, 16), (18, 24), (18, 26), (16, 28), (28, 16))
"""Rows and columns of patches: of scenes, of square images, and what the photographs come to."""
SHARES = (18, 6, 2, 2, 1, 1, 1, 1)
"""Images of each grid for every 32 images of a batch."""
LENGTH = 768


@dataclass
class Batch:
    """Images by grid, and chats that refer to them.

    tokens, slots (index into the features of all images, or -1) and answers (1 where a token is
    part of an answer): `[B, T]`; positions: `[3, B, T]`; exchanges: (chat, first token, end, kind).
    """

    pixels: list[np.ndarray]
    tokens: np.ndarray
    slots: np.ndarray
    answers: np.ndarray
    positions: np.ndarray
    exchanges: list[tuple[int, int, int, str]]


class Layout:
    """One chat's tokens, one exchange after the other."""

    def __init__(self, length: int = LENGTH) -> None:
        self.tokens = np.zeros(length, np.int32)
        self.slots = np.full(length, -1, np.int32)
        self.answers = np.zeros(length, np.float32)
        self.positions = np.zeros((3, length), np.int32)
        self.exchanges: list[tuple[int, int]] = []
        self._end = 0
        self._position = 0
        self._images = 0

    def fits(self, exchange: Exchange, images: list[tuple[int, tuple[int, int]]]) -> bool:
        """Whether an exchange and its images have room."""
        patches = sum(rows * columns // MERGE**2 + 8 for _, (rows, columns) in images)
        text = len(ids(_before(exchange))) + len(ids(_after(exchange)))
        return self._end + patches + text <= len(self.tokens)

    def add(self, exchange: Exchange, images: list[tuple[int, tuple[int, int]]]) -> None:
        """Write an exchange; an image is where its features begin, and its grid."""
        self._text(ids("<|im_start|>user\n"))
        for first, grid in images:
            self._images += 1
            self._text(ids(f"image {self._images}: <|vision_start|>"))
            self._image(first, grid)
            self._text(ids("<|vision_end|>"))
        self._text(ids(f"{exchange.question}<|im_end|>\n<|im_start|>assistant\n"))
        answer = ids(f"{exchange.answer}<|im_end|>")
        self.answers[self._end : self._end + len(answer)] = 1
        self.exchanges.append((self._end, self._end + len(answer)))
        self._text(answer)
        self._text(ids("\n"))

    def _text(self, tokens: tuple[int, ...]) -> None:
        span = slice(self._end, self._end + len(tokens))
        self.tokens[span] = tokens
        self.positions[:, span] = self._position + np.arange(len(tokens))
        self._end += len(tokens)
        self._position += len(tokens)

    def _image(self, first: int, grid: tuple[int, int]) -> None:
        rows, columns = grid[0] // MERGE, grid[1] // MERGE
        span = slice(self._end, self._end + rows * columns)
        self.tokens[span] = ids("<|image_pad|>")[0]
        self.slots[span] = first + np.arange(rows * columns)
        self.positions[0, span] = self._position
        self.positions[1, span] = self._position + np.repeat(np.arange(rows), columns)
        self.positions[2, span] = self._position + np.tile(np.arange(columns), rows)
        self._end += rows * columns
        self._position += max(rows, columns)


@lru_cache(maxsize=8192)
def ids(text: str) -> tuple[int, ...]:
    """Token ids of a piece of a chat that begins and ends where special tokens or newlines do."""
    return tuple(_tokenizer().encode(text, add_special_tokens=False).ids)


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    return make_tokenizer()


def _before(exchange: Exchange) -> str:
    return f"<|im_start|>user\n{exchange.question}<|im_end|>\n<|im_start|>assistant\n"


def _after(exchange: Exchange) -> str:
    return f"{exchange.answer}<|im_end|>\n"


def make_batch(seed: int, scale: int, chats: int) -> Batch:
    """A batch of `32 * scale` images and `chats` chats, the same for the same seed."""
    rng = random.Random(seed)
    counts = [share * scale for share in SHARES]
    starts = np.cumsum([0, *(n * r * c // MERGE**2 for n, (r, c) in zip(counts, GRIDS, strict=True))])
    pixels = [
        np.zeros((n, r * PATCH, c * PATCH, 3), np.uint8) for n, (r, c) in zip(counts, GRIDS, strict=True)
    ]
    free = _Places(rng, counts)
    layouts, exchanges = [], []
    for number in range(chats):
        places = free.take(rng.choice((1, 1, 2, 2, 3, 3, 4, 4, 5)), chats - number - 1)
        pictures = _pictures(rng, [grid for grid, _ in places])
        for (grid, n), picture in zip(places, pictures, strict=True):
            pixels[grid][n] = np.asarray(picture.image)
        images = [
            (int(starts[grid] + n * GRIDS[grid][0] * GRIDS[grid][1] // MERGE**2), GRIDS[grid])
            for grid, n in places
        ]
        layout = _lay_out(rng, pictures, images)
        exchanges += [(number, *span, pictures[0].kind) for span in layout.exchanges]
        layouts.append(layout)
    stack = {n: np.stack([getattr(x, n) for x in layouts]) for n in ("tokens", "slots", "answers")}
    positions = np.stack([layout.positions for layout in layouts], axis=1)
    return Batch(pixels, **stack, positions=positions, exchanges=exchanges)


class _Places:
    """The places for images in a batch, handed out to chats: most chats stay with scenes or photos."""

    def __init__(self, rng: random.Random, counts: list[int]) -> None:
        self._rng = rng
        places = [(grid, n) for grid, count in enumerate(counts) for n in range(count)]
        rng.shuffle(places)
        self._small = [place for place in places if place[0] == 0]
        self._large = [place for place in places if place[0] > 0]

    def take(self, wanted: int, others: int) -> list[tuple[int, int]]:
        """Places for up to `wanted` images, at least one, that leave one for each of `others`."""
        left = len(self._small) + len(self._large) - others
        wanted = max(1, min(wanted, left)) if others else min(left, 5)
        mixed = self._rng.random() < 0.2
        pool = self._small if self._rng.random() < 0.55 else self._large
        taken = []
        for _ in range(wanted):
            pool = self._rng.choice((self._small, self._large)) if mixed else pool
            pool = pool or self._small or self._large
            taken.append(pool.pop())
        return taken


def _pictures(rng: random.Random, grids: list[int]) -> list[Picture]:
    pictures: list[Picture] = []
    for grid in grids:
        rows, columns = GRIDS[grid]
        size = (columns * PATCH, rows * PATCH)
        before = pictures[-1] if pictures else None
        likely = {"scene": 1.0, "photo": 0.0, "plain": 0.1} if grid == 0 else {
            "scene": 0.5 if grid == 1 else 0.0, "photo": 0.8, "plain": 0.2
        }  # fmt: skip
        now = rng.choices(list(likely), list(likely.values()))[0]
        pair = before is not None and before.kind == "scene" and len(before.things) < 3
        if now == "scene" and pair and rng.random() < 0.4:
            pictures.append(scene_like(before, rng, size))
        else:
            pictures.append({"scene": scene, "photo": photo, "plain": plain}[now](rng, size))
    return pictures


def _lay_out(
    rng: random.Random, pictures: list[Picture], images: list[tuple[int, tuple[int, int]]]
) -> Layout:
    layout, shown, turns = Layout(), 0, rng.randint(3, 12)

    def room(exchange: Exchange) -> bool:
        nonlocal shown
        arriving = images[shown : shown + exchange.arriving]
        if len(layout.exchanges) >= turns + len(images) or not layout.fits(exchange, arriving):
            return False
        layout.add(exchange, arriving)
        shown += exchange.arriving
        return True

    chat(rng, pictures, room)
    return layout


# Worker processes -----------------------------------------------------------------------------------


class Loader:
    """Batches from worker processes, through files in shared memory; `stop()` ends the workers."""

    def __init__(self, seed: int, scale: int, chats: int, workers: int) -> None:
        context = multiprocessing.get_context("spawn")
        base = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
        self._folder = tempfile.TemporaryDirectory(dir=base)
        self._ready: Any = context.Queue(maxsize=2 * workers)
        self._workers = [
            context.Process(
                target=_work,
                args=(seed + n, workers, scale, chats, self._folder.name, self._ready),
                daemon=True,
            )
            for n in range(workers)
        ]
        for worker in self._workers:
            worker.start()
        self._batches: queue.Queue[Batch] = queue.Queue(maxsize=4)
        threading.Thread(target=self._load, daemon=True).start()

    def __iter__(self) -> Iterator[Batch]:
        while True:
            yield self._batches.get()

    def _load(self) -> None:
        while True:
            path, exchanges = self._ready.get()
            folder = Path(path)
            arrays = {file.stem: np.load(file) for file in folder.iterdir()}
            shutil.rmtree(folder)
            pixels = [arrays.pop(f"pixels{i}") for i in range(len(GRIDS))]
            self._batches.put(Batch(pixels, **arrays, exchanges=exchanges))

    def stop(self) -> None:
        """End the workers and remove what they left."""
        for worker in self._workers:
            worker.terminate()
            worker.join()
        self._folder.cleanup()


def _work(seed: int, step: int, scale: int, chats: int, folder: str, ready: Any) -> None:
    while True:
        batch = make_batch(seed, scale, chats)
        path = f"{folder}/{seed}"
        Path(path).mkdir()
        arrays = {f"pixels{i}": p for i, p in enumerate(batch.pixels)}
        arrays |= {n: getattr(batch, n) for n in ("tokens", "slots", "answers", "positions")}
        for name, array in arrays.items():
            np.save(f"{path}/{name}.npy", array)
        ready.put((path, batch.exchanges))
        seed += step
