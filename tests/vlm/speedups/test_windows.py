"""Windows of one size are attended to in one call: the same bits, in fewer calls, or left to mlx-vlm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
import pytest
import zoo
from harness import embedded, prepared, same
from mlx_vlm.models.qwen2_5_vl import vision
from PIL import Image

from visioncache import VisionFeatureCache
from visioncache.vlm import attach
from visioncache.vlm.request.seam import Seam
from visioncache.vlm.speedups import windows

if TYPE_CHECKING:
    from collections.abc import Iterator

FAMILY = "qwen2_5_vl"
SIZES = [(28, 112), (112, 112), (140, 84), (196, 252), (308, 140)]
"""Widths and heights: one window or many, of one size or of up to four."""


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Start and leave with no size of windows known."""
    windows._plans.clear()
    yield
    windows._plans.clear()


class Calls:
    """How often a function was called."""

    def __init__(self, function: Any) -> None:
        self.function = function
        self.count = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.count += 1
        return self.function(*args, **kwargs)


def photo(size: tuple[int, int], seed: int = 0) -> Image.Image:
    rng = np.random.default_rng([seed, *size])
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), np.uint8))


def layer(seed: int = 0) -> Any:
    mx.random.seed(seed)
    return vision.Attention(32, 2)


def asked(attention: Any, sizes: list[int], dtype: mx.Dtype = mx.float32) -> tuple[Any, Any]:
    """Ask for the attention of windows in mlx-vlm's way and in ours, twice: compared, then not."""
    attention.set_dtype(dtype)
    x = mx.random.normal((sum(sizes), 32)).astype(dtype)
    given = {
        "cu_seqlens": mx.array(np.cumsum([0, *sizes]).astype(np.int32)),
        "rotary_pos_emb": mx.random.normal((sum(sizes), 8)),
    }
    theirs = attention(x, **given)
    with Seam(None).opened("catch", []):  # type: ignore[arg-type]
        for _ in range(2):
            ours = windows.attend(attention.__call__, x, **given)
    return theirs, ours


@pytest.mark.parametrize(
    "sizes", [[16, 16], [16, 8, 16, 8, 4, 0, 4], [16, 0, 8, 0], [64] * 5 + [48], [1, 2, 3]]
)
@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16, mx.float16])
def test_bits_are_those_of_window_by_window(sizes: list[int], dtype: mx.Dtype) -> None:
    theirs, ours = asked(layer(), sizes, dtype)
    assert ours.dtype == theirs.dtype
    assert mx.array_equal(theirs, ours)
    assert [plan is not None for plan in windows._plans.values()] == [True]


def test_windows_of_one_size_are_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(mx.fast.scaled_dot_product_attention)
    monkeypatch.setattr(mx.fast, "scaled_dot_product_attention", calls)
    asked(layer(), [16, 8, 16, 8, 16, 4])
    assert calls.count == 6 + (6 + 3) + 3  # theirs; compared, which takes both; ours alone


@pytest.mark.parametrize("size", SIZES)
def test_a_tower_gives_the_same_features(size: tuple[int, int]) -> None:
    tiny = zoo.build(FAMILY)
    images = [photo(size), photo(size, 1)]  # compared, and not compared any more
    plain = [embedded(tiny, prepared(tiny, [image])) for image in images]
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attached:
        assert attached.speedups["windows"].on
        assert all(
            same(theirs, embedded(tiny, prepared(tiny, [image])))
            for theirs, image in zip(plain, images, strict=True)
        )
    assert vision.Attention.__call__.__qualname__ == "Attention.__call__"


def test_other_bits_leave_windows_to_mlx_vlm(monkeypatch: pytest.MonkeyPatch) -> None:
    own = windows._together
    monkeypatch.setattr(windows, "_together", lambda *args: own(*args) * 1.0001)
    theirs, ours = asked(layer(), [16, 8, 16])
    assert mx.array_equal(theirs, ours)
    assert windows._plans.values() == [None]


def test_another_rotation_is_compared_again(monkeypatch: pytest.MonkeyPatch) -> None:
    attention = layer()
    asked(attention, [16, 8, 16])
    rotate = vision.apply_rotary_pos_emb_vision
    monkeypatch.setattr(vision, "apply_rotary_pos_emb_vision", lambda x, freqs: rotate(x, freqs) * 2)
    theirs, ours = asked(attention, [16, 8, 16])
    assert mx.array_equal(theirs, ours)
    assert len(windows._plans) == 2


def test_a_method_of_the_users_own_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = zoo.build(FAMILY)
    own = vision.Attention.__call__
    monkeypatch.setattr(
        vision.Attention, "__call__", lambda self, *args, **kwargs: own(self, *args, **kwargs) * 2
    )
    image = photo((140, 84))
    plain = embedded(tiny, prepared(tiny, [image]))
    with attach(tiny.model, tiny.processor, VisionFeatureCache()):
        assert same(plain, embedded(tiny, prepared(tiny, [image])))


def test_outside_of_an_encode_mlx_vlm_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "_together", None)
    tiny = zoo.build(FAMILY)
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attached, attached.bypass():
        embedded(tiny, prepared(tiny, [photo((140, 84))]))
    assert len(windows._plans) == 0


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen3_vl", "llava"])
def test_a_tower_without_windows_says_so(family: str) -> None:
    tiny = zoo.build(family)
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attached:
        assert str(attached.speedups["windows"]) == "windows off: its tower attends to no windows"
