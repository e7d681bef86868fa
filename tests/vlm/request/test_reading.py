"""Reading code: what a function writes into is told from what it only reads beside that."""

from __future__ import annotations

from typing import Any

import pytest

from visioncache.vlm.scope.reading import read

STATE: dict[Any, Any] = {}
NESTED: dict[Any, dict[Any, Any]] = {}
GAIN = 1


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
