"""Batches: pictures with labels for the tower, and chats laid out as arrays for the language model."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from demo_vlm.chats import Exchange, chat
from demo_vlm.labels import CHANGES, UNKNOWN, changes_of, labels_of
from demo_vlm.model import MERGE, PATCH, make_tokenizer
from demo_vlm.pictures import PHOTOS, SCENE, Picture, close_up, photo, plain, scene, scene_like

SMALL = SCENE // PATCH, SCENE // PATCH
"""Rows and columns of patches of a scene."""
WHOLE = ((10, 10), (8, 12), (12, 8), (8, 10), (10, 8), (6, 12))
"""Rows and columns of patches that the photographs come to."""
PLAIN = (*WHOLE, SMALL, (12, 6), (4, 8), (8, 4), (4, 12), (12, 4), (6, 10), (10, 6), (4, 6), (6, 4))
PLACE_CLASSES = (5, 8, 8, len(CHANGES))
"""The image's number, the feature's row and column in it, and what differs there from the image before."""


@dataclass(frozen=True)
class Kind:
    """A kind of chat, as a batch of them is drawn."""

    pictures: tuple[int, ...]
    """How many pictures a chat may be about."""
    tokens: int
    chats: int
    large: bool = False
    """Set where it is about photographs."""
    alike: float = 0.35
    """How often a scene differs from the one before it in one thing only."""


SHORT = Kind(pictures=(1, 2, 2), tokens=144, chats=20, alike=1.0)
"""In which it is learnt sooner to look, and to compare; nothing is scored on these."""
KINDS = (
    Kind(pictures=(1, 2, 2, 3, 3, 4, 5), tokens=320, chats=12),
    Kind(pictures=(1, 2, 2, 3, 3, 4), tokens=320, chats=5, large=True),
)


# The tower ------------------------------------------------------------------------------------------


def tower_batches(seed: int, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pixels `[N, H, W, 3]` and labels `[N, features, labels]`: `count` small pictures, at times some whole.

    Parts of photographs stand for the whole: as near, and cheaper.
    """
    rng = random.Random(seed)
    small = [scene(rng, digits=0.3) for _ in range(count * 2 // 3)]
    small += [plain(rng, (SCENE, SCENE)) for _ in range(count // 24)]
    small += [close_up(rng, _pixels(rng.choice(WHOLE))) for _ in range(count - len(small))]
    groups = [(SMALL, small)]
    if rng.random() < 1 / 2:
        grid = rng.choice(WHOLE)
        groups.append((grid, [photo(rng, _pixels(grid)) for _ in range(count // 8)]))
    return [
        (_stack(pictures), np.stack([labels_of(p, grid[0] // MERGE, grid[1] // MERGE) for p in pictures]))
        for grid, pictures in groups
    ]


def _pixels(grid: tuple[int, int]) -> tuple[int, int]:
    return grid[1] * PATCH, grid[0] * PATCH


def _stack(pictures: list[Picture]) -> np.ndarray:
    return np.stack([np.asarray(picture.image) for picture in pictures])


# Albums: the pictures of one chat -------------------------------------------------------------------


@dataclass
class Album:
    """The pictures that one chat speaks of, and where their features lie among those of a round."""

    pictures: list[Picture]
    starts: list[int] = field(default_factory=list)

    @property
    def grids(self) -> list[tuple[int, int]]:
        """Rows and columns of patches, picture by picture."""
        return [(p.image.height // PATCH, p.image.width // PATCH) for p in self.pictures]


def draw_album(rng: random.Random, kind: Kind) -> Album:
    """Scenes and small plain pictures, or photographs, plain pictures and a scene at times."""
    pictures: list[Picture] = []
    for _ in range(rng.choice(kind.pictures)):
        before = pictures[-1] if pictures else None
        draw = rng.random()
        if draw < (0.1 if kind.large else 0.93):
            alike = before is not None and before.kind == "scene" and rng.random() < kind.alike
            pictures.append(scene_like(before, rng) if alike else scene(rng))
        elif draw < 0.3 or not kind.large:
            pictures.append(plain(rng, _pixels(rng.choice(PLAIN) if kind.large else SMALL)))
        else:
            name = rng.choice(list(PHOTOS))
            pictures.append(photo(rng, _pixels(rng.choice(WHOLE)), name))
    return Album(pictures)


def place(albums: list[Album]) -> list[np.ndarray]:
    """Pixels of all pictures, one array a grid; where each picture's features will lie is noted."""
    groups: dict[tuple[int, int], list[Picture]] = {}
    for album in albums:
        for picture, grid in zip(album.pictures, album.grids, strict=True):
            groups.setdefault(grid, []).append(picture)
    starts, end = {}, 0
    for (rows, columns), pictures in groups.items():
        for picture in pictures:
            starts[id(picture)] = end
            end += rows * columns // MERGE**2
    for album in albums:
        album.starts = [starts[id(picture)] for picture in album.pictures]
    return [_stack(pictures) for pictures in groups.values()]


# Chats ----------------------------------------------------------------------------------------------


@dataclass
class Batch:
    """Chats as arrays.

    tokens, slots (index into the features of a round, or -1) and answers (1 where a token is part of
    an answer): `[B, T]`; positions: `[3, B, T]`; places (what `PLACE_CLASSES` says, or UNKNOWN):
    `[B, T, 4]`; exchanges: (chat, first token of the answer, its end, kind).
    """

    tokens: np.ndarray
    slots: np.ndarray
    answers: np.ndarray
    positions: np.ndarray
    places: np.ndarray
    exchanges: list[tuple[int, int, int, str]]


@dataclass
class Round:
    """Pictures, and the batches of chats that speak of them; `features` is how many they come to."""

    pixels: list[np.ndarray]
    batches: list[Batch]

    @property
    def features(self) -> int:
        """Features of all pictures."""
        return sum(math.prod(p.shape[:3]) // (PATCH * MERGE) ** 2 for p in self.pixels)


def draw_round(seed: int, kinds: tuple[Kind, ...] = (SHORT, *KINDS), uses: int = 3, groups: int = 8) -> Round:
    """Draw albums of every kind, and speak of each `uses` times, in a batch of every kind in turn."""
    rng = random.Random(seed)
    albums = {kind: [draw_album(rng, kind) for _ in range(groups * kind.chats)] for kind in kinds}
    pixels = place([album for group in albums.values() for album in group])
    batches = []
    for _ in range(uses):
        for group in albums.values():
            rng.shuffle(group)
        for number in range(groups):
            for kind in kinds:
                group = albums[kind][number * kind.chats : (number + 1) * kind.chats]
                batches.append(_make_batch(rng, group, kind.tokens))
    return Round(pixels, batches)


def together(rounds: list[Round]) -> Round:
    """Several rounds as one of larger batches."""
    starts = np.cumsum([0, *(drawn.features for drawn in rounds)])
    batches = []
    for parts in zip(*(drawn.batches for drawn in rounds), strict=True):
        slots = [np.where(b.slots < 0, -1, b.slots + start) for b, start in zip(parts, starts, strict=False)]
        rows = np.cumsum([0, *(len(b.tokens) for b in parts)])
        batches.append(
            Batch(
                tokens=np.concatenate([b.tokens for b in parts]),
                slots=np.concatenate(slots),
                answers=np.concatenate([b.answers for b in parts]),
                positions=np.concatenate([b.positions for b in parts], axis=1),
                places=np.concatenate([b.places for b in parts]),
                exchanges=[
                    (row + n, *rest) for b, row in zip(parts, rows, strict=False) for n, *rest in b.exchanges
                ],
            )
        )
    return Round([pixels for drawn in rounds for pixels in drawn.pixels], batches)


def _make_batch(rng: random.Random, albums: list[Album], length: int) -> Batch:
    layouts = [_lay_out(rng, album, length) for album in albums]
    names = ("tokens", "slots", "answers", "places")
    return Batch(
        **{name: np.stack([getattr(layout, name) for layout in layouts]) for name in names},
        positions=np.stack([layout.positions for layout in layouts], axis=1),
        exchanges=[(n, *exchange) for n, layout in enumerate(layouts) for exchange in layout.exchanges],
    )


def _lay_out(rng: random.Random, album: Album, length: int) -> Layout:
    layout, shown = Layout(length), 0

    def room(exchange: Exchange) -> bool:
        nonlocal shown
        arriving = range(shown, shown + exchange.arriving)
        if not layout.fits(exchange, [album.grids[n] for n in arriving]):
            return False
        layout.add(exchange, album, arriving)
        shown += exchange.arriving
        return True

    chat(rng, album.pictures, room)
    return layout


class Layout:
    """One chat's tokens, one exchange after the other."""

    def __init__(self, length: int) -> None:
        self.tokens = np.zeros(length, np.int32)
        self.slots = np.full(length, -1, np.int32)
        self.answers = np.zeros(length, np.float32)
        self.positions = np.zeros((3, length), np.int32)
        self.places = np.full((length, len(PLACE_CLASSES)), UNKNOWN, np.int32)
        self.exchanges: list[tuple[int, int, str]] = []
        self._end = 0
        self._position = 0

    def fits(self, exchange: Exchange, grids: list[tuple[int, int]]) -> bool:
        """Tell whether an exchange and its images have room."""
        patches = sum(rows * columns // MERGE**2 + 8 for rows, columns in grids)
        text = len(ids(_before(exchange))) + len(ids(_after(exchange)))
        return self._end + patches + text <= len(self.tokens)

    def add(self, exchange: Exchange, album: Album, arriving: range) -> None:
        """Write an exchange and the pictures of the album that arrive with it."""
        self._text(ids("<|im_start|>user\n"))
        for number in arriving:
            self._text(ids(f"image {number + 1}: <|vision_start|>"))
            self._image(album, number)
            self._text(ids("<|vision_end|>"))
        self._text(ids(f"{exchange.question}<|im_end|>\n<|im_start|>assistant\n"))
        answer = ids(f"{exchange.answer}<|im_end|>")
        self.answers[self._end : self._end + len(answer)] = 1
        self.exchanges.append((self._end, self._end + len(answer), exchange.kind))
        self._text(answer)
        self._text(ids("\n"))

    def _text(self, tokens: tuple[int, ...]) -> None:
        span = slice(self._end, self._end + len(tokens))
        self.tokens[span] = tokens
        self.positions[:, span] = self._position + np.arange(len(tokens))
        self._end += len(tokens)
        self._position += len(tokens)

    def _image(self, album: Album, number: int) -> None:
        rows, columns = (side // MERGE for side in album.grids[number])
        row, column = np.repeat(np.arange(rows), columns), np.tile(np.arange(columns), rows)
        span = slice(self._end, self._end + rows * columns)
        self.tokens[span] = ids("<|image_pad|>")[0]
        self.slots[span] = album.starts[number] + np.arange(rows * columns)
        self.positions[:, span] = self._position + np.stack([0 * row, row, column])
        self.places[span, :3] = np.stack([0 * row + number, row, column], axis=1)
        if number > 0:
            self.places[span, 3] = changes_of(*album.pictures[number - 1 : number + 1], rows, columns)
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
