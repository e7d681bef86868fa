"""State that a user's code reads, wherever it lies: it is part of the scope, or nothing is cached."""

from __future__ import annotations

import builtins
import enum
import sys
from typing import TYPE_CHECKING, Any

import pytest
import zoo
from gains import WHERE, Gained, put
from PIL import Image
from twins import Scene, assert_alike

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.filterwarnings("ignore:nothing is cached")
A, _, _ = zoo.photos()


class Mode(enum.Enum):
    """A setting by name, with an attribute that is set later."""

    USUAL = 1


class Held:
    """An object that holds another."""

    def __init__(self, held: Any) -> None:
        self.held = held


PICTURE = Image.new("L", (2, 2), 1)
MAIN = Held(sys.modules["__main__"])
GAIN = 1.0


def by_an_enum() -> float:
    return float(Mode.USUAL.gain)  # type: ignore[attr-defined]


def by_a_builtin() -> float:
    return float(VISIONCACHE_GAIN)  # type: ignore[name-defined]  # noqa: F821


def by_the_builtins() -> float:
    return float(builtins.VISIONCACHE_GAIN)  # type: ignore[attr-defined]


def by_main() -> float:
    return float(MAIN.held.visioncache_gain)


def by_a_picture() -> float:
    return float(PICTURE.info["gain"])


def by_what_it_wraps() -> float:
    return float(by_what_it_wraps.__wrapped__())  # type: ignore[attr-defined]


def by_its_globals() -> float:
    return float(by_its_globals.__globals__["GAIN"])


def by_a_frame() -> float:
    return float(sys._getframe().f_globals["GAIN"])


def one() -> float:
    return 1.0


def two() -> float:
    return 2.0


def set_globals(value: float) -> None:
    globals()["GAIN"] = value


SETTING: dict[Callable[[], float], Callable[[float], Any]] = {
    by_an_enum: lambda value: setattr(Mode.USUAL, "gain", value),
    by_a_builtin: lambda value: setattr(builtins, "VISIONCACHE_GAIN", value),
    by_the_builtins: lambda value: setattr(builtins, "VISIONCACHE_GAIN", value),
    by_main: lambda value: setattr(MAIN.held, "visioncache_gain", value),
    by_a_picture: lambda value: PICTURE.info.update(gain=value),
    by_what_it_wraps: lambda value: setattr(by_what_it_wraps, "__wrapped__", one if value == 1 else two),
    by_its_globals: set_globals,
    by_a_frame: set_globals,
}


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtins, "VISIONCACHE_GAIN", 1.0, raising=False)
    monkeypatch.setattr(MAIN.held, "visioncache_gain", 1.0, raising=False)
    monkeypatch.setitem(globals(), "GAIN", 1.0)


@pytest.mark.parametrize("family", WHERE)
@pytest.mark.parametrize("read", SETTING, ids=lambda read: read.__name__)
def test_state_that_a_layer_reads_counts(family: str, read: Callable[[], float]) -> None:
    def play(scene: Scene) -> list[Any]:
        SETTING[read](1.0)
        put(scene.model, WHERE[family], lambda inner: Gained(inner, read))
        answers = []
        for value in (1.0, 1.0, 2.0, 1.0):
            SETTING[read](value)
            answers.append(scene.ask(A))
        return answers

    answers = assert_alike(family, play)
    assert not any(isinstance(answer, Exception) for answer in answers)


@pytest.mark.parametrize("family", ["gemma3", "idefics3", "llava", "mistral3", "smolvlm"])
@pytest.mark.parametrize("read", SETTING, ids=lambda read: read.__name__)
def test_state_that_an_image_processor_reads_counts(family: str, read: Callable[[], float]) -> None:
    def play(scene: Scene) -> list[Any]:
        SETTING[read](1.0)
        image_processor = scene.processor.image_processor

        class Own(type(image_processor)):  # type: ignore[misc]
            def preprocess(self, images: Any, *args: Any, **kwargs: Any) -> Any:
                made = super().preprocess(images, *args, **kwargs)
                pixels = made["pixel_values"]
                alone = not isinstance(pixels, list)
                made["pixel_values"] = pixels * read() if alone else [one * read() for one in pixels]
                return made

        scene.detach()
        image_processor.__class__ = Own
        scene.attach()
        answers = []
        for value in (1.0, 2.0, 1.0):
            SETTING[read](value)
            answers.append(scene.ask(A))
        return answers

    answers = assert_alike(family, play)
    assert not any(isinstance(answer, Exception) for answer in answers)
