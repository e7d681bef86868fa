"""Tickets: told by their buffer, so that whatever is made of one is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
import pytest

from visioncache import Key
from visioncache.vlm.request.stand_in import is_stand_in, stand_in
from visioncache.vlm.request.tickets import Item, Request, Tickets

if TYPE_CHECKING:
    from collections.abc import Callable

DIGEST = bytes(range(16)).hex()
DTYPES = ("float32", "float16", "bfloat16")


def request() -> Request:
    made = Request(owner=None, again=dict)
    made.items.append(Item(Key.from_source("a")))
    return made


def ticket(dtype: str = "float32", *, as_numpy: bool = False) -> Any:
    return stand_in((6, 3, 8, 40), dtype, DIGEST, as_numpy=as_numpy)


@pytest.fixture
def tickets() -> Tickets:
    return Tickets()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_ticket_is_found_by_itself_and_by_nothing_like_it(tickets: Tickets, dtype: str) -> None:
    pixels, asked = ticket(dtype), request()
    tickets.hold(pixels, {}, asked)
    held = tickets.find(pixels)
    assert held is not None
    assert held.request is asked
    assert tickets.find(ticket(dtype)) is None


def test_an_array_of_numpy_is_a_ticket_too_and_refuses_to_be_written_into(tickets: Tickets) -> None:
    pixels = ticket(as_numpy=True)
    tickets.hold([pixels], {}, request())
    assert tickets.find([pixels]) is not None
    assert tickets.find([pixels.copy()]) is None
    with pytest.raises(ValueError, match="read-only"):
        pixels[0] = 0


EDITS: dict[str, Callable[[mx.array], mx.array]] = {
    "scaled": lambda pixels: pixels * 1.0,
    "clipped": lambda pixels: mx.clip(pixels, 0, 1),
    "absolute": mx.abs,
    "turned round": lambda pixels: pixels[::-1],
    "flipped": lambda pixels: pixels[..., ::-1],
    "upside down": lambda pixels: pixels[:, :, ::-1],
    "channels in another order": lambda pixels: pixels[:, ::-1],
    "reordered": lambda pixels: pixels[mx.array([1, 0, 2, 3, 4, 5])],
    "cut": lambda pixels: pixels[1:],
    "cut at the end": lambda pixels: pixels[:-1],
    "transposed": lambda pixels: pixels.swapaxes(2, 3),
    "of another dtype": lambda pixels: pixels.astype(mx.float16),
    "copied": lambda pixels: mx.array(np.array(pixels)),
    "in a batch": lambda pixels: mx.concatenate([pixels, pixels]),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_an_edited_ticket_is_none(tickets: Tickets, edit: Callable[[mx.array], mx.array]) -> None:
    pixels = ticket()
    tickets.hold(pixels, {}, request())
    edited = edit(pixels)
    assert tickets.find(edited) is None
    assert is_stand_in(edited)


def write(pixels: mx.array) -> None:
    pixels[1] = 0


def add(pixels: mx.array) -> None:
    pixels += 1


@pytest.mark.parametrize("change", [write, add])
@pytest.mark.parametrize("evaluated", [True, False])
def test_a_ticket_that_was_written_into_is_none(
    tickets: Tickets, change: Callable[[mx.array], None], *, evaluated: bool
) -> None:
    pixels = ticket()
    tickets.hold(pixels, {}, request())
    change(pixels)
    if evaluated:
        mx.eval(pixels)
    assert tickets.find(pixels) is None


def test_arrays_of_a_list_count_in_their_order(tickets: Tickets) -> None:
    one, other = ticket(), ticket()
    tickets.hold([one, other], {}, request())
    assert tickets.find([one, other]) is not None
    assert tickets.find([other, one]) is None
    assert tickets.find([one]) is None


def test_inputs_beside_a_ticket_are_compared_by_their_numbers(tickets: Tickets) -> None:
    pixels, grid = ticket(), mx.array([[1, 2, 2]])
    tickets.hold(pixels, {"grid": grid, "rows": [np.array([1])]}, request())
    held = tickets.find(pixels)
    assert held is not None
    assert held.changed({"grid": grid}) == ""
    assert held.changed({"grid": mx.array([[1, 2, 2]]), "rows": [np.array([1])]}) == ""
    assert held.changed({"grid": mx.array([[1, 1, 4]])}) == "grid"
    assert held.changed({"rows": [np.array([2])]}) == "rows"
    grid[0, 0] = 7
    assert held.changed({"grid": grid}) == "grid"


def test_nothing_is_kept_of_a_ticket_that_is_gone(tickets: Tickets) -> None:
    pixels = ticket()
    tickets.hold(pixels, {}, request())
    del pixels
    assert not tickets._held


def test_the_oldest_of_too_many_is_forgotten(tickets: Tickets) -> None:
    tickets.capacity = 3
    pixels = [ticket() for _ in range(4)]
    for one in pixels:
        tickets.hold(one, {}, request())
    assert [tickets.find(one) is not None for one in pixels] == [False, True, True, True]


@pytest.mark.parametrize("dtype", DTYPES)
def test_two_digests_are_told_apart_in_every_dtype(dtype: str) -> None:
    bits = {2: mx.uint16, 4: mx.uint32}
    one, again, other = (stand_in((3, 64), dtype, digest) for digest in (DIGEST, DIGEST, DIGEST[::-1]))
    spelled, same_spelled, other_spelled = (
        array.view(bits[array.itemsize]).tolist() for array in (one, again, other)
    )
    assert spelled == same_spelled
    assert spelled != other_spelled
    assert bool(mx.isnan(one).all().item())


def test_a_stand_in_takes_as_many_numbers_as_its_axes_are_long() -> None:
    before = mx.get_active_memory()
    pixels = stand_in((4096, 1176), "float32", DIGEST)
    assert pixels.nbytes == 4096 * 1176 * 4
    assert mx.get_active_memory() - before < 32 * 1024
