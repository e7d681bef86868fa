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

    ids: np.ndarray
    """A token for each embedding: an image's token is repeated where it became several rows."""
    images: list[tuple[Shown, np.ndarray]] = field(default_factory=list)
    """Each image, and where its rows are, ascending."""
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
        ids: Sequence[int] | np.ndarray,
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
        ids = np.asarray(ids, np.int64)
        length = given["inputs_embeds"].shape[1]
        places = _placed(ids, shown, placeholders, length)
        if places is None and len(ids) != length:
            raise ValueError("the prompt has other embeddings than tokens")
        spelling = cls(ids, specials=specials)
        if places is not None and len(ids) != length:
            spelling.ids = _repeated(ids, placeholders, [len(own) for own in places])
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
        return [(int(places[0]), int(places[-1]) + 1) for _, places in self.images]

    def images_in(self, begin: int, end: int) -> list[tuple[Key, int, int]]:
        """List the images of a stretch, each with the rows of it that lie there."""
        found = []
        for one, places in self.images:
            first, past = map(int, np.searchsorted(places, (begin, end)))
            if first < past:
                found.append((one.key, first, past))
        return found

    def key(self, parent: str, begin: int, end: int) -> Key:
        """Name a stretch that follows the one named `parent`."""
        hasher = blake3()

        def say(part: bytes) -> None:
            hasher.update(len(part).to_bytes(8, "little"))
            hasher.update(part)

        say(parent.encode())
        say(self.ids[begin:end].tobytes())
        for image, first, past in self.images_in(begin, end):
            say(f"{first} {past} {image.text}".encode("utf-8", "surrogatepass"))
        for name, (value, axis) in self.beside.items():
            cut = value[(*[slice(None)] * axis, slice(begin, end))]
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
    ids: np.ndarray, shown: Sequence[Shown], placeholders: Sequence[int], length: int
) -> list[np.ndarray] | None:
    """Find each image's rows among the embeddings; None where nothing says which they are."""
    rows = [one.rows for one in shown]
    if not shown:
        return [] if len(ids) == length and not np.isin(ids, placeholders).any() else None
    for stands in [*(ids == placeholder for placeholder in placeholders), ids < 0]:
        places = np.flatnonzero(stands)
        if len(ids) == length and len(places) == sum(rows):
            return np.split(places, np.cumsum(rows)[:-1])
        if len(places) and len(shown) == 1 and length != len(ids):  # what stood for it became all rows
            behind = len(ids) - places[-1] - 1
            return [np.arange(places[0], length - behind)]
        if len(places) == len(shown) and len(ids) + sum(rows) - len(places) == length:
            begins = [place + sum(rows[:number]) - number for number, place in enumerate(places)]
            return [np.arange(begin, begin + many) for begin, many in zip(begins, rows, strict=True)]
    return None


def _repeated(ids: np.ndarray, placeholders: Sequence[int], counts: Sequence[int]) -> np.ndarray:
    """Repeat each image's token, so that there is one for each of its rows; a token below 0 is none."""
    stands = np.isin(ids, placeholders) | (ids < 0)
    first = ids[stands][0]
    places = np.flatnonzero(ids == first)
    if len(counts) == 1:  # what stood for it became all rows
        return np.concatenate([ids[: places[0]], np.repeat(first, counts[0]), ids[places[-1] + 1 :]])
    if len(places) != len(counts):  # a token of its own for each image
        places = np.flatnonzero(stands)
    times = np.ones(len(ids), np.int64)
    times[places] = counts
    return np.repeat(ids, times)


def _runs(ids: np.ndarray, specials: Collection[int], shortest: int = 4) -> list[Span]:
    """Find where many tokens come together that are no text, as those of images do."""
    spans: list[Span] = []
    for special, group in groupby(enumerate(ids.tolist()), key=lambda item: item[1] in specials):
        places = [place for place, _ in group]
        if special and len(places) >= shortest:
            spans.append((places[0], places[-1] + 1))
    return spans
