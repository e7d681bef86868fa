"""Chats: questions about pictures whose right answers are known, strung into conversations."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from demo_vlm.pictures import ANIMALS, CELLS, COLOURS, PHOTOS, SHAPES, SIZES, Picture, Thing

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence


@dataclass(frozen=True)
class Exchange:
    """A question, its answer, how many pictures arrive with it, and what is scored together with it."""

    question: str
    answer: str
    arriving: int = 0
    kind: str = ""


@dataclass(frozen=True)
class Asked:
    """A question and answer, and the thing that a follow-up would speak of."""

    question: str
    answer: str
    kind: str
    """The kind of picture asked about, and what was asked: `scene/colour`, `photo/what`."""
    thing: Thing | None = None


def chat(rng: random.Random, pictures: Sequence[Picture], room: Callable[[Exchange], bool]) -> list[Exchange]:
    """A conversation in which the pictures arrive one or two at a time.

    `room` is asked before every exchange whether there is space for it.
    """
    exchanges: list[Exchange] = []
    shown = 0
    last: Asked | None = None
    while True:
        arriving = 0
        if shown < len(pictures) and (shown == 0 or rng.random() < 0.55):
            arriving = min(len(pictures) - shown, 1 if rng.random() < 0.75 else rng.randint(1, 3))
            last = None
        asked = _follow_up(rng, last) or _question(rng, pictures[: shown + arriving])
        exchange = Exchange(asked.question, asked.answer, arriving, asked.kind)
        if not room(exchange):
            return exchanges
        shown += arriving
        last = asked
        exchanges.append(exchange)


def _question(rng: random.Random, shown: Sequence[Picture]) -> Asked:
    if len(shown) > 1 and rng.random() < 0.3:
        asked = _across(rng, shown)
        if asked is not None:
            return asked
    number = len(shown) if rng.random() < 0.5 else rng.randint(1, len(shown))
    picture = shown[number - 1]
    latest = number == len(shown) and rng.random() < 0.6
    if picture.kind == "scene":
        return _about_scene(rng, picture, "" if latest else f" in image {number}")
    return _about_image(rng, picture, "this" if latest else f"image {number}")


def _about_scene(rng: random.Random, picture: Picture, where: str) -> Asked:
    shapes = Counter(thing.shape for thing in picture.things)
    colours = Counter(thing.colour for thing in picture.things)
    named = [thing for thing in picture.things if shapes[thing.shape] == 1]
    hued = [thing for thing in picture.things if colours[thing.colour] == 1]
    kinds = ["count", "count of"]
    kinds += ["colour", "where", "size"] * 2 if named else []
    kinds += ["shape"] * 2 if hued else []
    kinds += ["digit"] * 3 if shapes["digit"] else []
    kind = rng.choice(kinds)
    if kind == "count":
        return Asked(f"How many shapes are there{where}?", str(len(picture.things)), "scene/count")
    if kind == "count of":
        shape = rng.choice([thing.shape for thing in picture.things] + list(SHAPES[:2]))
        return Asked(f"How many {plural(shape)} are there{where}?", str(shapes[shape]), "scene/count")
    if kind == "shape":
        thing = rng.choice(hued)
        return Asked(f"What shape is {thing.colour}{where}?", thing.shape, "scene/shape", thing)
    if kind == "digit":
        thing = next(thing for thing in picture.things if thing.digit)
        return Asked(f"Which digit is there{where}?", thing.digit, "scene/digit", thing)
    thing = rng.choice(named)
    return _about_thing(kind, thing, f"the {thing.shape}{where}")


def _about_thing(kind: str, thing: Thing, name: str, start: str = "") -> Asked:
    forms = {
        "colour": (f"what colour is {name}?", thing.colour),
        "where": (f"where is {name}?", thing.cell),
        "size": (f"is {name} small or large?", thing.size),
    }
    question, answer = forms[kind]
    whole = start + question if start else question[0].upper() + question[1:]
    return Asked(whole, answer, f"scene/{'follow-up' if start else kind}", thing)


def _about_image(rng: random.Random, picture: Picture, name: str) -> Asked:
    this = "this image" if name == "this" else name
    forms: list[tuple[str, str, str]] = []
    if picture.label:
        asks = ["What is this?", "What is in this image?"] if name == "this" else [f"What is in {name}?"]
        forms += [(rng.choice(asks), picture.label, "photo/what")] * 4
        animal = "yes" if picture.label in ANIMALS else "no"
        forms += [(f"Is {this} an animal?", animal, "photo/animal")] * 2
    if picture.colour:
        forms += [(f"What colour is {this}?", picture.colour, "plain/colour")] * 2
    if picture.aspect != "square":
        forms.append((f"Is {this} wide or tall?", picture.aspect, f"{picture.kind}/aspect"))
    return Asked(*rng.choice(forms))


def _across(rng: random.Random, shown: Sequence[Picture]) -> Asked | None:
    kind = shown[-1].kind
    forms = [("How many images are there?", str(len(shown)), f"{kind}/images")]
    labels = Counter(picture.label for picture in shown)
    shapes = Counter(shape for p in shown for shape in {thing.shape for thing in p.things})
    for number, picture in enumerate(shown, 1):
        if picture.label and labels[picture.label] == 1:
            forms += [(f"Which image shows the {picture.label}?", f"image {number}", "photo/which")] * 3
        for shape in sorted({thing.shape for thing in picture.things if shapes[thing.shape] == 1}):
            forms.append((f"Which image shows a {shape}?", f"image {number}", "scene/which"))
        if picture.changed:
            question = f"What differs between image {number - 1} and image {number}?"
            forms += [(question, picture.changed, "scene/differs")] * 3
    return Asked(*rng.choice(forms))


def _follow_up(rng: random.Random, last: Asked | None) -> Asked | None:
    if last is None or last.thing is None or rng.random() > 0.35:
        return None
    kinds = [k for k, answer in _facts(last.thing).items() if answer != last.answer]
    return _about_thing(rng.choice(kinds), last.thing, "it", "And ")


def _facts(thing: Thing) -> dict[str, str]:
    return {"colour": thing.colour, "where": thing.cell, "size": thing.size}


def plural(shape: str) -> str:
    """`crosses` of `cross`, `stars` of `star`."""
    return shape + ("es" if shape.endswith("s") else "s")


def corpus() -> list[str]:
    """Every word that questions and answers are made of, for the tokenizer."""
    words = ["user", "assistant", "system", "yes", "no", "wide", "tall", "colour", "place", "size"]
    words += [*SIZES, *(word for cell in CELLS for word in cell.split())]
    things = [*SHAPES, "digit", *map(plural, (*SHAPES, "digit")), *COLOURS, *PHOTOS.values()]
    sentences = [
        "What colour is the", "What shape is", "Where is the", "Is the small or large?", "How many",
        "shapes are there in image 1?", "are there in image 2?", "Which digit is there?", "What is this?",
        "What is in this image?", "Is this image an animal?", "Is this image wide or tall?",
        "What colour is this image?", "Which image shows the", "Which image shows a",
        "How many images are there?", "What differs between image 1 and image 2?", "And what colour is it?",
        "And where is it?", "And is it small or large?",
        "top left", "top right", "centre", "bottom left", "bottom right",
    ]  # fmt: skip
    digits = [f"image {n}: " for n in range(10)]
    # As they stand in a sentence (after a space) and as they begin an answer.
    return [*sentences, *digits, *(f" {w}" for w in (*words, *things)), *words, *things] * 4
