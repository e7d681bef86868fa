"""Features put into a prompt row by row: the same bits as number by number, or left to mlx-vlm."""

from __future__ import annotations

import importlib
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import zoo
from harness import embedded, prepared, same
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx_vlm.models.gemma4.gemma4 import masked_scatter as without_numpy
from mlx_vlm.models.qwen3_vl import qwen3_vl

from visioncache import VisionFeatureCache
from visioncache.vlm import attach
from visioncache.vlm.scatter import _is_slow, scatter

A, B, _ = zoo.photos()
SLOW = (
    "cohere_compass", "gemma3", "idefics2", "idefics3", "lfm2_vl", "minimax_m3_vl", "nemotron_h_nano_omni",
    "qwen3_5", "qwen3_omni_moe", "qwen3_vl", "qwen3_vl_moe",
)  # fmt: skip
TYPES = (mx.float32, mx.bfloat16, mx.float16)


def slow(name: str) -> Any:
    function = importlib.import_module(f"mlx_vlm.models.{name}.{name}").masked_scatter
    return getattr(function, "original", function)


class Unasked:
    """A function that must not be called."""

    def __call__(self, *_: Any) -> None:
        raise AssertionError("row by row was possible")


@pytest.mark.parametrize("name", SLOW)
@settings(max_examples=25, deadline=None)
@given(
    tokens=st.lists(st.booleans(), min_size=1, max_size=40).filter(any),
    batch=st.integers(1, 2),
    size=st.integers(1, 9),
    into=st.sampled_from(TYPES),
    of=st.sampled_from(TYPES),
    seed=st.integers(0, 2**16),
)
def test_bits_are_those_of_mlx_vlm(
    name: str, tokens: list[bool], batch: int, size: int, into: Any, of: Any, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    shape = batch, len(tokens), size
    embeddings = mx.array(rng.normal(size=shape)).astype(into)
    mask = mx.broadcast_to(mx.array([tokens])[..., None], shape)
    features = mx.array(rng.normal(size=(batch * sum(tokens), size))).astype(of)
    ours = scatter(Unasked(), embeddings, mask, features)
    theirs = slow(name)(embeddings, mask, features)
    assert ours.dtype == theirs.dtype == into
    assert mx.array_equal(ours, theirs)


def test_embeddings_that_were_scattered_into_are_as_before() -> None:
    embeddings = mx.zeros((1, 2, 3))
    scatter(Unasked(), embeddings, mx.array([[[True] * 3, [False] * 3]]), mx.ones((1, 3)))
    assert not embeddings.any()


@pytest.mark.parametrize(
    ("mask", "features"),
    [
        ([[True, True, False], [True, True, True]], 5),  # parts of a token
        ([[True, True, True], [True, True, True]], 3),  # fewer features than places
        ([[True, True, True], [False, False, False]], 6),  # more
    ],
)
def test_anything_else_is_left_to_mlx_vlm(mask: list[list[bool]], features: int) -> None:
    asked = []
    given = mx.zeros((1, 2, 3)), mx.array([mask]), mx.ones(features)
    scatter(lambda *args: asked.append(args), *given)
    assert asked == [given]


def test_what_does_not_look_with_numpy_is_left_alone() -> None:
    assert not _is_slow(without_numpy)


def test_what_does_something_else_is_left_alone() -> None:
    def backwards(embeddings: mx.array, mask: mx.array, features: mx.array) -> mx.array:
        flat = mx.flatten(embeddings)
        flat[mx.array(np.where(mx.flatten(mask))[0])] = mx.flatten(features)[::-1]
        return flat.reshape(embeddings.shape)

    def of_one_prompt(embeddings: mx.array, mask: mx.array, features: mx.array) -> mx.array:
        places, numbers = np.where(mask)
        return embeddings + features[mx.array(places), mx.array(numbers)]

    assert not _is_slow(backwards)
    assert not _is_slow(of_one_prompt)


def test_only_the_attached_model_is_served_so_and_only_while_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny, other = zoo.build("qwen3_vl"), zoo.build("qwen3_vl")
    original = qwen3_vl.masked_scatter
    expected = embedded(tiny, prepared(tiny, [A, B]))
    calls: list[Any] = []

    def counted(*args: Any) -> Any:
        calls.append(args)
        return original(*args)

    with attach(tiny.model, tiny.processor, VisionFeatureCache()):
        assert qwen3_vl.masked_scatter is not original
        taken = qwen3_vl.masked_scatter
        monkeypatch.setattr(taken, "original", counted)
        for _ in range(2):
            assert same(embedded(tiny, prepared(tiny, [A, B])), expected)
        assert not calls
        embedded(other, prepared(other, [A, B]))
        assert len(calls) == 1
        monkeypatch.undo()
        with attach(other.model, other.processor, VisionFeatureCache()):
            assert qwen3_vl.masked_scatter is taken
        assert qwen3_vl.masked_scatter is taken
    assert qwen3_vl.masked_scatter is original
