"""What is stored beside features comes back as it was, pixels as stand-ins."""

from __future__ import annotations

import json

import mlx.core as mx
import numpy as np
import pytest
from harness import same

from visioncache.vlm.request.recall import describe, recall
from visioncache.vlm.request.standin import is_stand_in, stand_in

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
    meta = json.loads(json.dumps(describe(outputs, ("pixel_values",))))
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
    meta = describe({"pixel_values": np.zeros((2, 8))}, ("pixel_values",))
    pixels = recall(meta, DIGEST, as_numpy=as_numpy)["pixel_values"]
    assert pixels.dtype == dtype
    assert np.isnan(np.array(pixels)).all()


def test_a_stand_in_takes_no_memory_however_large_it_seems() -> None:
    meta = describe({"pixel_values": mx.zeros((4096, 1176))}, ("pixel_values",))
    before = mx.get_active_memory()
    pixels = recall(meta, DIGEST, as_numpy=False)["pixel_values"]
    mx.eval(pixels)
    assert pixels.nbytes == 4096 * 1176 * 4
    assert mx.get_active_memory() - before < 16 * 1024


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_stand_ins_of_two_images_differ_in_every_dtype(dtype: str) -> None:
    bits = {2: mx.uint16, 4: mx.uint32}
    one, again, other = (stand_in((3, 64), dtype, digest) for digest in (DIGEST, DIGEST, DIGEST[::-1]))
    spelled, same_spelled, other_spelled = (
        array.view(bits[array.itemsize]).tolist() for array in (one, again, other)
    )
    assert spelled == same_spelled
    assert spelled != other_spelled
    assert bool(mx.isnan(one).all().item())
