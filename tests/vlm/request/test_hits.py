"""Inputs that are stored beside features come back as they were, pixels as stand-ins."""

from __future__ import annotations

import json

import mlx.core as mx
import numpy as np
import pytest
from harness import same

from visioncache.vlm.families.layouts import Layout
from visioncache.vlm.request.hits import describe, recall
from visioncache.vlm.request.stand_in import is_stand_in

DIGEST = bytes(range(16)).hex()


def test_everything_but_pixels_comes_back_through_json_as_it_was() -> None:
    outputs = {
        "pixel_values": mx.zeros((2, 3, 4)),
        "grid": np.array([[1, 2, 3]], np.int32),
        "mask": mx.array([[True, False]]),
        "rows": [np.array([1, 2]), np.array([3])],
        "layout": (2, 3),
        "names": ["a", None],
        "count": 7,
    }
    meta = json.loads(json.dumps(describe(outputs, Layout())))
    again = recall(meta, DIGEST, as_numpy=False)
    assert again.keys() == outputs.keys()
    assert is_stand_in(again["pixel_values"])
    assert again["pixel_values"].shape == (2, 3, 4)
    assert same(again["mask"], outputs["mask"])
    assert isinstance(again["grid"], np.ndarray)
    assert again["grid"].dtype == np.int32
    assert again["grid"].tolist() == [[1, 2, 3]]
    assert [row.tolist() for row in again["rows"]] == [[1, 2], [3]]
    assert (again["layout"], again["names"], again["count"]) == ((2, 3), ["a", None], 7)


@pytest.mark.parametrize(("as_numpy", "dtype"), [(False, mx.float32), (True, np.float64)])
def test_doubles_are_floats_to_mlx_and_doubles_to_numpy(*, as_numpy: bool, dtype: object) -> None:
    meta = describe({"pixel_values": np.zeros((2, 8))}, Layout())
    pixels = recall(meta, DIGEST, as_numpy=as_numpy)["pixel_values"]
    assert pixels.dtype == dtype
    assert np.isnan(np.array(pixels)).all()


def test_places_are_stood_in_for_by_floats_too() -> None:
    outputs = {"pixel_values": np.zeros((2, 8), np.float32), "places": np.ones((2, 40), np.int64)}
    layout = Layout(("pixel_values", "places"), indices=("places",))
    again = recall(describe(outputs, layout), DIGEST, as_numpy=False)
    with pytest.raises(ValueError, match="integral"):
        mx.eval(mx.arange(3)[again["places"]])


def test_pixels_of_integers_are_stood_in_for_by_floats_and_masks_are_not() -> None:
    outputs = {"pixel_values": np.zeros((2, 40), np.uint8), "mask": np.ones((2, 40), bool)}
    again = recall(describe(outputs, Layout(("pixel_values", "mask"))), DIGEST, as_numpy=False)
    assert is_stand_in(again["pixel_values"])
    assert again["mask"].dtype == mx.bool_
