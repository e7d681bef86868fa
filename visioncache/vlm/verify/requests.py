"""Requests: the sets of images that are verified, and a chat in which they come one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlx_vlm.prompt_utils import apply_chat_template

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

QUESTIONS = ("What is in the picture?", "Name its colours.", "How many pictures are there?")
SHIPPED = ("cat.png", "astronaut.png", "coins.png")
TURNS = 3


@dataclass(frozen=True)
class Request:
    """A question, with what was said and shown before it."""

    name: str
    images: tuple[Any, ...]
    messages: tuple[dict[str, Any], ...]
    kept: int = 0
    """How many of its images, the first ones, an earlier request showed; the cache still has them."""

    def prompt(self, model: Any, processor: Any) -> str:
        """Apply the model's chat template."""
        text: str = apply_chat_template(
            processor, model.config, list(self.messages), num_images=len(self.images)
        )
        return text

    def answered(self, text: str) -> tuple[dict[str, Any], ...]:
        """Return the messages, with an answer to the last."""
        return (*self.messages, {"role": "assistant", "content": text})


def single_requests(images: Sequence[Any], prompts: Sequence[str]) -> Iterator[Request]:
    """Ask of one image, twice, of two, the two reversed, one shown twice, and three, as far as there are."""
    first, second, third = (*images, None, None)[:3]
    yield Request("one image", (first,), (_asked(prompts[0], 1),))
    other = prompts[1] if len(prompts) > 1 else f"{prompts[0]} Say it in one word."
    yield Request("another question", (first,), (_asked(other, 1),), kept=1)
    sets = {
        "two images": (first, second),
        "the two reversed": (second, first),
        "one image twice": (first, first),
        "three images": (first, second, third),
    }
    for name, shown in sets.items():
        if None not in shown:
            yield Request(name, shown, (_asked(prompts[0], len(shown)),))


def next_turn(before: Request | None, answer: str, images: Sequence[Any], prompts: Sequence[str]) -> Request:
    """Ask the next question of a chat, showing one further image with it while there is one."""
    turn = 0 if before is None else sum(message["role"] == "user" for message in before.messages)
    shown = () if before is None else before.images
    new = tuple(images[turn : turn + 1])
    question = _asked(prompts[turn % len(prompts)], len(new))
    said = () if before is None else before.answered(answer)
    return Request(f"chat, turn {turn + 1}", (*shown, *new), (*said, question), kept=len(shown))


def _asked(text: str, images: int) -> dict[str, Any]:
    content = [{"type": "image"} for _ in range(images)]
    return {"role": "user", "content": [*content, {"type": "text", "text": text}]}
