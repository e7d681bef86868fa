"""Spelling: what decides the keys and values of a stretch of a prompt, as text of keys.

Token ids, the images that lie in the stretch, positions and masks there; or, where nothing says which
rows of the prompt are an image's, the embeddings themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from blake3 import blake3

from visioncache.keys import Key

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from visioncache.vlm.prefixes.boundaries import Span


@dataclass(frozen=True)
class Shown:
    """An image as a prompt shows it: its key, and the rows of features that it is."""

    key: Key
    rows: int


@dataclass
class Spelling:
    """One prompt, ready to be spelled stretch by stretch."""

    ids: list[int]
    """A token for each embedding: an image's token is repeated where it became several rows."""
    images: list[tuple[Shown, list[int]]] = field(default_factory=list)
    """Each image, and where its rows are."""
    embeddings: mx.array | None = None
    """Array to hash where images have no known places: `[1, tokens, width]`."""
    specials: Collection[int] = ()
    """Tokens that are no text."""
    beside: dict[str, tuple[np.ndarray, int]] = field(default_factory=dict)
    """Positions and masks, by name, and along which axis the tokens lie."""
    whole: list[str] = field(default_factory=list)
    """Inputs that can't be cut by tokens: they are part of every stretch's name."""
    later: str = ""
    """Part of every stretch's name but the first one's."""

    @classmethod
    def of(
        cls,
        ids: list[int],
        shown: Sequence[Shown],
        placeholders: Sequence[int],
        given: dict[str, Any],
        *,
        specials: Collection[int] = (),
        foreign: bool = False,
    ) -> Spelling:
        """Find out which embeddings are whose.

        Args:
            ids: the prompt's tokens.
            shown: its images, in order.
            placeholders: the tokens that may stand for an image or its rows.
            given: all that the language model is given, `inputs_embeds` among it.
            specials: tokens that are no text.
            foreign: whether something besides tokens and images went into the embeddings.

        Raises:
            ValueError: there are other embeddings than tokens, and nothing says which are whose.
        """
        length = given["inputs_embeds"].shape[1]
        places = _placed(ids, shown, placeholders, length)
        if places is None and len(ids) != length:
            raise ValueError("the prompt has other embeddings than tokens")
        spelling = cls(ids, specials=specials)
        if places is not None and len(ids) != length:
            spelling.ids = _repeated(ids, {*placeholders, *_below(ids)}, [len(own) for own in places])
        if foreign or places is None:
            spelling.embeddings = given["inputs_embeds"]
        if places is not None:
            spelling.images = list(zip(shown, places, strict=True))
        for name, value in sorted(given.items()):
            if isinstance(value, mx.array) and name != "inputs_embeds":
                axes = [axis for axis, size in enumerate(value.shape) if size == length]
                decided = mx.issubdtype(value.dtype, mx.floating) and not spelling.by_content
                if len(axes) == 1 and not decided:
                    spelling.beside[name] = _on_host(value), axes[0]
        return spelling

    @property
    def by_content(self) -> bool:
        """Tell whether stretches are told apart by their embeddings."""
        return self.embeddings is not None

    @property
    def spans(self) -> list[Span]:
        """Where each image's rows begin and end; by their looks, where nothing says so."""
        if self.embeddings is not None and not self.images:
            return _runs(self.ids, self.specials)
        return [(places[0], places[-1] + 1) for _, places in self.images]

    def images_in(self, begin: int, end: int) -> list[tuple[Key, int, int]]:
        """List the images of a stretch, each with the rows of it that lie there."""
        found = []
        for one, places in self.images:
            inside = [row for row, place in enumerate(places) if begin <= place < end]
            if inside:
                found.append((one.key, inside[0], inside[-1] + 1))
        return found

    def key(self, parent: str, begin: int, end: int) -> Key:
        """Name a stretch that follows the one named `parent`."""
        hasher = blake3()

        def say(part: bytes) -> None:
            hasher.update(len(part).to_bytes(8, "little"))
            hasher.update(part)

        say(parent.encode())
        say(np.array(self.ids[begin:end], np.int64).tobytes())
        for image, first, past in self.images_in(begin, end):
            say(f"{first} {past} {image.text}".encode("utf-8", "surrogatepass"))
        for name, (value, axis) in self.beside.items():
            cut = np.take(value, range(begin, end), axis=axis)
            say(f"{name} {cut.dtype} {cut.shape}".encode())
            say(cut.tobytes())
        if self.embeddings is not None:
            say(Key.from_array(self.embeddings[:, begin:end]).text.encode())
        for item in [*self.whole, self.later] if begin else self.whole:
            say(item.encode("utf-8", "surrogatepass"))
        return Key("b:" + hasher.hexdigest(length=16))


def _on_host(value: mx.array) -> np.ndarray:
    """Copy an array to where it is read; numpy has no bfloat16, whose bits are taken then."""
    return np.array(value.view(mx.uint16) if value.dtype == mx.bfloat16 else value)


def _placed(
    ids: Sequence[int], shown: Sequence[Shown], placeholders: Sequence[int], length: int
) -> list[list[int]] | None:
    """Find each image's rows among the embeddings; None where nothing says which they are."""
    rows = [one.rows for one in shown]
    if not shown:
        return [] if len(ids) == length and not any(token in placeholders for token in ids) else None
    for wanted in [*({placeholder} for placeholder in placeholders), _below(ids)]:
        places = [place for place, token in enumerate(ids) if token in wanted]
        if len(ids) == length and len(places) == sum(rows):
            left = iter(places)
            return [[next(left) for _ in range(many)] for many in rows]
        if places and len(shown) == 1 and length != len(ids):  # what stood for it became all rows
            behind = len(ids) - places[-1] - 1
            return [list(range(places[0], length - behind))]
        if len(places) == len(shown) and len(ids) + sum(rows) - len(places) == length:
            begins = [place + sum(rows[:number]) - number for number, place in enumerate(places)]
            return [list(range(begin, begin + many)) for begin, many in zip(begins, rows, strict=True)]
    return None


def _below(ids: Sequence[int]) -> set[int]:
    """Give the tokens that are none, which stand for images: one number for all, or one for each."""
    return {token for token in ids if token < 0}


def _repeated(ids: list[int], placeholders: Collection[int], counts: Sequence[int]) -> list[int]:
    """Repeat each image's token, so that there is one for each of its rows."""
    first = next(token for token in ids if token in placeholders)
    if len(counts) == 1:
        before, behind = ids.index(first), len(ids) - 1 - ids[::-1].index(first)
        return [*ids[:before], *[first] * counts[0], *ids[behind + 1 :]]
    left = iter(counts)
    return [token for one in ids for token in ([one] * next(left) if one == first else [one])]


def _runs(ids: Sequence[int], specials: Collection[int], shortest: int = 4) -> list[Span]:
    """Find where many tokens come together that are no text, as those of images do."""
    spans: list[Span] = []
    for special, group in groupby(enumerate(ids), key=lambda item: item[1] in specials):
        places = [place for place, _ in group]
        if special and len(places) >= shortest:
            spans.append((places[0], places[-1] + 1))
    return spans
