"""Requests: what a batch of pixels is made of, as long as it is the batch that it was."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from visioncache import Key
from visioncache.vlm.request.tickets import Part, Requests

PARTS = [Part(Key.from_source("a"))]


def pixels() -> mx.array:
    array = mx.arange(12, dtype=mx.float32).reshape(4, 3)
    mx.eval(array)
    return array


def write(array: Any) -> None:
    array[1] = 0


def add(array: Any) -> None:
    array += 1


@pytest.fixture
def requests() -> Requests:
    return Requests()


def test_the_very_pixels_are_found(requests: Requests) -> None:
    array, grid = pixels(), mx.array([[1, 2, 2]])
    requests.remember(array, {"grid": grid}, PARTS)
    assert requests.find(array, {"grid": grid}) is PARTS
    assert requests.find(array, {"grid": mx.array([[1, 2, 2]])}) is PARTS
    assert requests.find(array, {"grid": mx.array([[1, 1, 4]])}) is None


def test_pixels_of_the_same_numbers_are_others(requests: Requests) -> None:
    array = pixels()
    requests.remember(array, {}, PARTS)
    assert requests.find(pixels(), {}) is None
    assert requests.find(array[...], {}) is None


@pytest.mark.parametrize("change", [write, add])
@pytest.mark.parametrize("make", [pixels, lambda: np.arange(12.0).reshape(4, 3)], ids=["mlx", "numpy"])
@pytest.mark.parametrize("evaluated", [True, False])
def test_pixels_that_were_written_into_are_not_found(
    requests: Requests, make: Any, change: Any, evaluated: bool
) -> None:
    array = make()
    requests.remember(array, {}, PARTS)
    change(array)
    if evaluated and isinstance(array, mx.array):
        mx.eval(array)
    assert requests.find(array, {}) is None


def test_pixels_are_not_taken_for_what_they_were_made_from(requests: Requests) -> None:
    # Inside of mx.grad an array keeps what it was made from, evaluated or not.
    def loss(weight: mx.array) -> mx.array:
        array = pixels() * weight
        older = array[...]
        array[...] = array + 1
        requests.remember(array, {}, PARTS)
        array[...] = older
        assert requests.find(array, {}) is None
        return array.sum()

    mx.grad(loss)(mx.array(2.0))


def test_halves_of_one_split_are_two(requests: Requests) -> None:
    def loss(weight: mx.array) -> mx.array:
        first, second = mx.split(pixels() * weight, 2)
        requests.remember(first, {}, PARTS)
        first[...] = second
        assert requests.find(first, {}) is None
        return first.sum()

    mx.grad(loss)(mx.array(2.0))


def test_nothing_is_kept_of_pixels_that_are_gone(requests: Requests) -> None:
    array = pixels()
    requests.remember(array, {}, PARTS)
    del array
    assert not requests._by_id
