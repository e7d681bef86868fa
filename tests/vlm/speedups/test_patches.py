"""Patches that are cut already go through one product of matrices: the same bits, or left to MLX."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
import pytest
import zoo
from harness import embedded, prepared, same
from mlx import nn
from PIL import Image

from visioncache import VisionFeatureCache
from visioncache.vlm import attach
from visioncache.vlm.request.seam import Seam
from visioncache.vlm.speedups import patches, report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FAMILIES = ["cohere_compass", "glm4v", "glm_ocr", "qwen2_5_vl", "qwen2_vl", "qwen3_vl", "qwen3_vl_moe"]


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Start and leave with no layer known."""
    patches._same.clear()
    yield
    patches._same.clear()


def photo(seed: int, size: tuple[int, int] = (140, 84)) -> Image.Image:
    rng = np.random.default_rng([seed, *size])
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), np.uint8))


def layer(*, kernel: int = 14, bias: bool = False, **options: Any) -> nn.Conv3d:
    mx.random.seed(0)
    size = (2, kernel, kernel)
    return nn.Conv3d(3, 32, size, stride=size, bias=bias, **options)


def cut(count: int, seed: int, size: int = 14) -> mx.array:
    """Random patches, with channels moved to the end as towers do."""
    flat = mx.random.normal((count, 3, 2, size, size), key=mx.random.key(seed))
    return flat.moveaxis(1, 4)


def asked(convolution: nn.Conv3d, given: mx.array) -> mx.array:
    with Seam(None).opened("catch", []):  # type: ignore[arg-type]
        return patches.project(convolution.__call__, given)


@pytest.fixture
def multiplied(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Tells how often patches were multiplied."""
    calls: list[Any] = []
    own = patches._multiplied

    def counted(convolution: Any, given: mx.array) -> mx.array:
        calls.append(given.shape)
        return own(convolution, given)

    monkeypatch.setattr(patches, "_multiplied", counted)
    return lambda: len(calls)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("count", [2, 3, 17, 64, 396, 1023])
def test_bits_are_those_of_the_convolution(count: int, bias: bool, multiplied: Callable[[], int]) -> None:
    convolution = layer(bias=bias)
    for seed in range(3):
        given = cut(count, seed)
        assert mx.array_equal(convolution(given), asked(convolution, given))
    assert multiplied() == 3


@pytest.mark.parametrize(
    ("convolution", "given"),
    [
        (layer(), cut(1, 0)),
        (layer(), cut(4, 0).astype(mx.float16)),
        (layer(), cut(4, 0, size=28)),
        (layer(padding=(0, 1, 1)), cut(4, 0)),
        (layer(kernel=7, dilation=2), cut(4, 0)),
    ],
    ids=["one", "half", "larger than the kernel", "padded", "dilated"],
)
def test_other_convolutions_are_left_alone(
    convolution: nn.Conv3d, given: mx.array, multiplied: Callable[[], int]
) -> None:
    for _ in range(2):
        assert mx.array_equal(convolution(given), asked(convolution, given))
    assert multiplied() == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tower_gives_the_same_features(family: str, multiplied: Callable[[], int]) -> None:
    tiny = zoo.build(family)
    images = [photo(seed) for seed in range(3)]
    plain = [embedded(tiny, prepared(tiny, [image])) for image in images]
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attached:
        assert attached.speedups["patches"].on
        for theirs, image in zip(plain, images, strict=True):
            assert same(theirs, embedded(tiny, prepared(tiny, [image])))
    assert multiplied() == 3
    assert nn.Conv3d.__call__.__qualname__ == "Conv3d.__call__"


def test_other_bits_leave_patches_to_mlx(monkeypatch: pytest.MonkeyPatch) -> None:
    own = patches._multiplied
    monkeypatch.setattr(patches, "_multiplied", lambda *args: own(*args) * 1.0001)
    convolution = layer()
    for seed in range(2):
        given = cut(8, seed)
        assert mx.array_equal(convolution(given), asked(convolution, given))
    assert list(patches._same.values()) == [False]


def test_another_matmul_is_compared_again(monkeypatch: pytest.MonkeyPatch) -> None:
    convolution, given = layer(), cut(8, 0)
    asked(convolution, given)
    own = mx.matmul
    monkeypatch.setattr(mx, "matmul", lambda a, b: own(a, b) * 2)
    assert all(mx.array_equal(convolution(given), asked(convolution, given)) for _ in range(2))


def test_a_convolution_of_the_users_own_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    own = nn.Conv3d.__call__
    monkeypatch.setattr(nn.Conv3d, "__call__", lambda self, x: own(self, x) * 2)
    tiny = zoo.build("qwen2_5_vl")
    plain = embedded(tiny, prepared(tiny, [photo(0)]))
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attached:
        assert not attached.speedups["patches"].on
        assert same(plain, embedded(tiny, prepared(tiny, [photo(0)])))


def test_outside_of_an_encode_and_on_a_gpu_mlx_convolves(
    monkeypatch: pytest.MonkeyPatch, multiplied: Callable[[], int]
) -> None:
    tiny = zoo.build("qwen2_5_vl")
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attached:
        with attached.bypass():
            embedded(tiny, prepared(tiny, [photo(0)]))
        monkeypatch.setattr(patches, "on_gpu", lambda: True)
        embedded(tiny, prepared(tiny, [photo(0)]))
        monkeypatch.setattr(report, "on_gpu", lambda: True)
        assert attached.speedups["patches"].reason.startswith("mlx computes on a GPU")
    assert multiplied() == 0


def test_a_tower_without_such_patches_says_so() -> None:
    tiny = zoo.build("llava")
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attached:
        said = "patches off: its tower convolves no patches that are cut already"
        assert str(attached.speedups["patches"]) == said
