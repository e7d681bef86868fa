"""Talk: several conversations at once, drawn at random."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

    Turn = tuple[str, tuple[int, ...]]
    """A question, and the photos that are shown with it."""

CHATS, LONGEST = 4, 10
WORDS = ("What is it? ", "And where is it, and since when? ", "No. ", "Two, at the left side. ", "Why? ")


class Talk:
    """Several chats at once; each turn goes on with one of them."""

    def __init__(self, rng: random.Random, images: int) -> None:
        self._rng, self._images = rng, images
        self._chats: list[list[Turn]] = [[] for _ in range(CHATS)]

    def next(self) -> list[Turn]:
        """Ask more, ask again, edit a question, swap a picture, branch or begin anew."""
        rng, number = self._rng, self._rng.randrange(CHATS)
        chat = self._chats[number].copy()
        kind = rng.choices(("ask", "again", "edit", "swap", "branch", "new"), (8, 2, 2, 2, 2, 1))[0]
        if kind == "new" or len(chat) >= LONGEST:
            chat = []
        elif kind == "branch":
            other = rng.choice(self._chats)
            chat = other[: rng.randrange(len(other) + 1)]
        elif kind == "edit" and chat:
            at = rng.randrange(len(chat))
            chat = [*chat[:at], (rng.choice(WORDS), chat[at][1])]
        elif kind == "swap" and (shown := [at for at, (_, photos) in enumerate(chat) if photos]):
            at = rng.choice(shown)
            chat[at] = chat[at][0], (rng.randrange(3),)
        if kind in ("ask", "branch", "new") or not chat:
            left = self._images - sum(len(photos) for _, photos in chat)
            photos = (rng.randrange(3),) if left > 0 and rng.random() < 0.4 else ()
            chat += [(rng.choice(WORDS), ())] * bool(chat) + [(rng.choice(WORDS), photos)]
        self._chats[number] = chat
        return chat
