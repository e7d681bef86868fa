"""Reading code: what a function writes into is told from what it only reads beside that."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from visioncache.vlm.scope.reading import read

STATE: dict[Any, Any] = {}
NESTED: dict[Any, dict[Any, Any]] = {}
GAIN = 1
RING: deque[int] = deque([1, 2])
PICTURE: Any = None


def stored(x: Any) -> None:
    STATE["a"] = x * GAIN


def added(x: Any) -> None:
    STATE[GAIN] += x


def by_pair(x: Any) -> None:
    STATE[GAIN, x] = NESTED[x]


def by_text(x: Any) -> None:
    STATE[f"{GAIN}"] = x(NESTED)


def nested(x: Any) -> None:
    NESTED[GAIN][x] = STATE


def into_a_local(x: Any) -> None:
    made = {}
    made["pixel_values"] = x * GAIN


def into_an_argument(x: Any) -> None:
    x.held[GAIN] = STATE


def appended(x: Any) -> None:
    NESTED.update({x: {GAIN: STATE}})


@pytest.mark.parametrize(
    ("function", "fills"),
    [
        (stored, {"STATE"}),
        (added, {"STATE"}),
        (by_pair, {"STATE"}),
        (by_text, {"STATE"}),
        (nested, {"NESTED"}),
        (into_a_local, set()),
        (into_an_argument, set()),
        (appended, {"NESTED"}),
    ],
    ids=lambda one: getattr(one, "__name__", None),
)
def test_only_the_container_of_a_store_is_written_into(function: Any, fills: set[str]) -> None:
    assert read(function.__code__).fills == fills


class Counts:
    """Methods that count in an attribute, or write to one for others to see."""

    calls = 0
    inner: Any = None

    def adding(self, x: Any) -> Any:
        self.calls += 1
        return x * self.calls

    def setting(self, x: Any) -> Any:
        self.calls = getattr(self, "calls", 0) + len(x)
        return x * self.calls

    def inside(self, x: Any) -> Any:
        self.inner.calls += 1
        return x * self.inner.calls

    def only_counting(self, x: Any) -> Any:
        self.calls += 1
        return x

    def keeping(self, x: Any) -> Any:
        self.calls = x
        return self.calls

    def rotating(self, x: Any) -> Any:
        self.inner.rotate(1)
        return x * self.inner[0]

    def halving(self, made: Any) -> Any:
        made.calls = made.calls * 0.5
        return made.calls


def in_a_table(x: Any) -> Any:
    STATE["calls"] += 1
    return x * STATE["calls"]


def in_another_entry(x: Any) -> Any:
    STATE["calls"] += 1
    return x * STATE["gain"]


def rotated(x: Any) -> Any:
    RING.rotate(1)
    return x * RING[0]


def taken(x: Any) -> Any:
    return x * RING.popleft()


def turned(image: Any) -> Any:
    return image.paste(PICTURE.rotate(90), PICTURE.size)


def let_go(x: Any) -> Any:
    RING.popleft()
    return x


@pytest.mark.parametrize(
    ("function", "counted"),
    [
        (Counts.adding, {"self.calls"}),
        (Counts.setting, {"self.calls"}),
        (Counts.inside, {"self.inner.calls"}),
        (Counts.only_counting, set()),
        (Counts.keeping, set()),
        (Counts.halving, set()),
        (in_a_table, {"STATE[calls]"}),
        (in_another_entry, set()),
        (Counts.rotating, {"self.inner"}),
        (rotated, {"RING"}),
        (taken, {"RING"}),
        (turned, set()),
        (let_go, set()),
    ],
    ids=lambda one: getattr(one, "__name__", None),
)
def test_what_is_counted_and_read_is_told_from_what_is_only_counted(function: Any, counted: set[str]) -> None:
    reading = read(function.__code__)
    assert reading.updates & reading.uses == counted
