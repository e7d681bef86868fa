"""Sizes: bytes of a value's whole tree, and between text and a number of bytes."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visioncache.records import outline
from visioncache.sizes import format_size, leaves, nbytes, parse_size


class Features(NamedTuple):
    hidden: Any
    deepstack: Any


ONE = mx.zeros((4, 8), mx.bfloat16)  # 64 bytes


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (ONE, 64),
        (np.zeros((3, 5)), 120),
        (np.float32(1), 4),
        ((ONE, mx.zeros(3)), 76),
        ([ONE, [mx.zeros(3), None]], 76),
        ({"hidden": mx.zeros(2), "deepstack": (mx.zeros(1), mx.zeros(1))}, 16),
        (Features(mx.zeros(2), [mx.zeros(1)]), 12),
        ([ONE, ONE], 64),
        ([], 0),
        (None, 0),
    ],
)
def test_a_value_has_the_bytes_of_its_whole_tree_and_a_shared_array_counts_once(
    value: Any, size: int
) -> None:
    assert nbytes(value) == size


def test_measuring_evaluates_nothing() -> None:
    before = mx.get_active_memory()
    lazy = mx.zeros((1 << 26,)) + 1
    assert nbytes([lazy]) == 1 << 28
    assert outline(lazy) == ((1 << 26,), "float32")
    assert mx.get_active_memory() < before + (1 << 20)


@pytest.mark.parametrize("leaf", ["text", 3, b"bytes", memoryview(b"bytes"), object()])
def test_a_leaf_that_is_no_array_is_a_type_error_that_names_it(leaf: Any) -> None:
    for value in (leaf, [ONE, leaf], {"x": (leaf,)}):
        with pytest.raises(TypeError, match=f"found {type(leaf).__name__}"):
            nbytes(value)


def test_leaves_come_in_order() -> None:
    first, second, third = mx.zeros(1), mx.zeros(2), mx.zeros(3)
    found = list(leaves({"a": [first, None], "b": (second, {"c": third})}))
    assert [id(leaf) for leaf in found] == [id(first), id(second), id(third)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (ONE, ((4, 8), "bfloat16")),
        ([None, np.zeros(3)], ((3,), "float64")),
        ([], ((), "")),
        ("text", ((), "")),
    ],
)
def test_a_value_is_outlined_by_its_first_array(value: Any, expected: Any) -> None:
    assert outline(value) == expected


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (0, 0),
        (1500, 1500),
        (1.9e9, 1_900_000_000),
        (np.int64(7), 7),
        (np.float32(8), 8),
        ("7", 7),
        ("7 B", 7),
        ("500MB", 500_000_000),
        ("500mb", 500_000_000),
        ("2 GiB", 2 << 30),
        ("2GIB", 2 << 30),
        ("2 Gi", 2 << 30),
        (" 1.5 KiB ", 1536),
        (".5k", 500),
        ("2.3 KB", 2300),
        ("1.001 KB", 1001),
        ("3T", 3 * 10**12),
        ("1 TiB", 1 << 40),
        (sys.maxsize, sys.maxsize),
    ],
)
def test_sizes_are_read_as_people_write_them(text: Any, size: int) -> None:
    assert parse_size(text) == size
    assert type(parse_size(text)) is int


@pytest.mark.parametrize(
    "text",
    [
        "",
        "GiB",
        "2 GB!",
        "-1",
        "1 XB",
        "1 IB",
        "1,000",
        "1e9",
        "two",
        "inf",
        "nan",
        float("inf"),
        float("nan"),
        10**400,
        "9" * 400,
        "9" * 400 + ".5",
        True,
        None,
        [],
        b"1",
        1j,
    ],
)
def test_what_is_no_size_is_a_value_error_that_shows_what_is(text: Any) -> None:
    with pytest.raises(ValueError, match="is not a size: give a number of bytes, or text such as '2 GiB'"):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1_610_612_736, "1.5 GiB"),
        (999.6 * 1024, "0.976 MiB"),
        (1023 * 1024, "0.999 MiB"),
        (123 << 20, "123 MiB"),
        (-(3 << 20), "-3 MiB"),
        (5 << 40, "5 TiB"),
        (2000 << 40, "2,000 TiB"),
    ],
)
def test_sizes_are_shown_with_three_digits_of_the_fitting_unit(size: float, text: str) -> None:
    assert format_size(size) == text


@given(st.integers(0, sys.maxsize // 2))
def test_what_is_shown_can_be_read_back(size: int) -> None:
    shown = parse_size(format_size(size).replace(",", ""))
    assert abs(shown - size) <= max(0.006 * size, 1)
