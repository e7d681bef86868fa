"""The steps of the fuzzer: how often each is done, and how its arguments are drawn."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import mlx.core as mx

from fuzzed import changes, questions
from fuzzed.images import Shown, draw_shown

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from fuzzed.side import Side

SETTINGS: dict[str, tuple[Any, ...]] = {
    "image_mean": ([0.5, 0.5, 0.5], [0.1, 0.2, 0.3]),
    "image_std": ([0.5, 0.5, 0.5], [0.3, 0.2, 0.1]),
    "do_normalize": (True, False),
    "do_rescale": (True, False),
    "do_convert_rgb": (True, False),
    "rescale_factor": (1 / 255, 1 / 128),
    "resample": (2, 3),
    "max_pixels": (28 * 28 * 16, 28 * 28 * 4),
    "min_pixels": (28 * 28 * 4, 28 * 28),
}
CALLS: tuple[dict[str, Any], ...] = (
    {}, {}, {}, {}, {}, {"resize_shape": (60, 44)}, {"resize_shape": (32, 32)}, {"do_normalize": False},
    {"max_pixels": 28 * 28 * 6},
)  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One step: the name of what is done and what with."""

    name: str
    given: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        def written(value: Any) -> str:
            return f"[{', '.join(map(str, value))}]" if isinstance(value, tuple) else repr(value)

        return f"{self.name}({', '.join(f'{name}={written(value)}' for name, value in self.given.items())})"

    def run(self, side: Side) -> Any:
        """Do it to one side; the answer, or None where nothing is asked."""
        answer = self.kind.do(side, **self.given)
        if answer is None or isinstance(
            answer, Exception
        ):  # lazy weights can't be evaluated in another thread
            mx.eval(side.tiny.model.parameters())
        return answer

    @property
    def kind(self) -> Kind:
        return STEPS[self.name]


@dataclass(frozen=True)
class Kind:
    """A kind of step: how often, how its arguments are drawn, what it does."""

    often: float
    draw: Callable[[random.Random, Any], dict[str, Any]]
    do: Callable[..., Any]
    refusable: bool = False
    """Set where one clear line is as good as the twin's answer."""


def draw_images(rng: random.Random, plan: Any) -> dict[str, Any]:
    count = rng.choice((1, 1, 1, 1, 2, 3)) if plan.max_images > 1 else 1
    return {"images": tuple(draw_shown(rng, plan.photos) for _ in range(count))}


def draw_ask(rng: random.Random, plan: Any) -> dict[str, Any]:
    options, aside = rng.choice(CALLS), rng.choice(("", "", "", "", "", "bypass", "suspended"))
    chosen = {"options": options} if options else {}
    return draw_images(rng, plan) | chosen | ({"aside": aside} if aside else {})


def draw_threads(rng: random.Random, plan: Any) -> dict[str, Any]:
    shown = [draw_shown(rng, plan.photos) for _ in range(rng.choice((2, 3)))]
    apart = {(s.photo if "path" not in s.door.lower() else s.slot): s for s in shown if "kept" not in s.door}
    return {"each": tuple(apart.values()) or (Shown(plan.photos[0], "BytesIO"),)}


def draw_setting(rng: random.Random, _: Any) -> dict[str, Any]:
    name = rng.choice(list(SETTINGS))
    return {"name": name, "value": rng.choice(SETTINGS[name])}


def no_arguments(_: random.Random, __: Any) -> dict[str, Any]:
    return {}


def one_of(**choices: Any) -> Callable[[random.Random, Any], dict[str, Any]]:
    def draw(rng: random.Random, _: Any) -> dict[str, Any]:
        return {name: rng.choice(values) for name, values in choices.items()}

    return draw


def images_and(draw: Callable[[random.Random, Any], dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    return lambda rng, plan: draw_images(rng, plan) | draw(rng, plan)


def draw_copied_processor(rng: random.Random, plan: Any) -> dict[str, Any]:
    chosen = draw_setting(rng, plan)
    return draw_images(rng, plan) | {"setting": chosen["name"], "value": chosen["value"]}


STEPS = {
    "ask": Kind(60, draw_ask, questions.ask),
    "ask_text": Kind(2, no_arguments, questions.ask_text),
    "ask_tokens": Kind(8, draw_images, questions.ask_tokens),
    "ask_threads": Kind(4, draw_threads, questions.ask_threads),
    "ask_edited": Kind(
        4,
        images_and(one_of(edit=(*questions.EDITS, "nothing, detached"))),
        questions.ask_edited,
        refusable=True,
    ),
    "ask_copy": Kind(3, images_and(one_of(deep=(True, False), gain=(1, 1.5))), questions.ask_copy),
    "ask_copied_processor": Kind(3, draw_copied_processor, questions.ask_copied_processor),
    "ask_gradient": Kind(1.5, draw_images, questions.ask_gradient),
    "setting": Kind(6, draw_setting, changes.setting),
    "scale_weights": Kind(2, one_of(gain=(0.8, 1.25)), changes.scale_weights),
    "load_weights": Kind(2, one_of(seed=(0, 1)), changes.load_weights),
    "quantise": Kind(0.7, no_arguments, changes.quantise),
    "train": Kind(3, one_of(which=("all", "first", "last"), mode=(True, False, False)), changes.train),
    "replace_part": Kind(1.5, one_of(how=("another's", "a copy")), changes.replace_part),
    "replace_image_processor": Kind(1, no_arguments, changes.replace_image_processor),
    "attach_again": Kind(2, no_arguments, changes.attach_again),
    "press": Kind(6, one_of(how=("clear", "one entry", "few bytes", "room", "pop")), changes.press),
    "swap_values": Kind(0.5, no_arguments, changes.swap_values),
}
