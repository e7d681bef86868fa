"""Watch: another object is noticed by everybody who asks, and what a model sets of itself costs no more."""

from __future__ import annotations

from typing import Any

import pytest

from visioncache.vlm.scope.watch import Watch


class Part:
    """An object with attributes."""

    weight: Any
    counter: Any


def parts(count: int = 4) -> list[Part]:
    made = [Part() for _ in range(count)]
    for number, part in enumerate(made):
        part.weight, part.counter = object(), number
    return made


def watched(of: list[Part]) -> Watch:
    watch = Watch()
    for part in of:
        watch.mapping(vars(part), lambda name, _: name == "weight")
    watch.mapping({})
    assert not watch.changed()
    return watch


@pytest.mark.parametrize("row", range(4))
def test_a_change_is_told_to_everybody_who_asks(row: int) -> None:
    several = parts()
    watch = watched(several)
    several[row].weight = object()
    assert [watch.changed() for _ in range(3)] == [True] * 3


def test_a_change_is_noticed_beside_one_that_does_not_count() -> None:
    several = parts()
    watch = watched(several)
    for number in range(3):
        several[1].counter = number + 10
        assert not watch.changed()
    several[1].counter = 20
    several[2].weight = object()
    assert [watch.changed() for _ in range(2)] == [True] * 2


@pytest.mark.parametrize("row", range(4))
def test_more_or_fewer_entries_are_told_only_where_they_count(row: int) -> None:
    several = parts()
    watch = watched(several)
    del several[row].counter
    assert not watch.changed()
    vars(several[row])["other"] = 1
    assert not watch.changed()
    del several[row].weight
    assert [watch.changed() for _ in range(2)] == [True] * 2


def test_entries_in_another_order_are_the_same() -> None:
    several = parts()
    watch = watched(several)
    fields = vars(several[0])
    weight = fields.pop("weight")
    fields["weight"] = weight
    assert not watch.changed()
    fields["weight"] = object()
    assert watch.changed()


def test_what_is_put_back_is_what_it_was() -> None:
    several = parts()
    watch = watched(several)
    weight, several[0].weight = several[0].weight, object()
    assert watch.changed()
    several[0].weight = weight
    assert not watch.changed()
