"""Features put into a prompt row by row: the same bits as number by number, or left to mlx-vlm."""

from __future__ import annotations

from functools import cache
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import zoo
from harness import embedded, prepared, same
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx_vlm.models.gemma4.gemma4 import masked_scatter as without_numpy
from mlx_vlm.models.qwen3_5 import qwen3_5
from mlx_vlm.models.qwen3_vl import qwen3_vl

from visioncache import VisionFeatureCache
from visioncache.vlm import attach
from visioncache.vlm.families.recognise import family_of
from visioncache.vlm.patching.instances import resolve
from visioncache.vlm.speedups.scatter import _is_slow, scatter, slow_scatters

A, B, _ = zoo.photos()
SLOW = (
    "cohere_compass", "gemma3", "idefics2", "idefics3", "lfm2_vl", "minimax_m3_vl",
    "qwen3_5", "qwen3_5_moe", "qwen3_omni_moe", "qwen3_vl", "qwen3_vl_moe", "smolvlm",
)  # fmt: skip
"""Families of which mlx-vlm has numpy look for places."""
TYPES = (mx.float32, mx.bfloat16, mx.float16)


@cache
def modules_of(name: str) -> list[Any]:
    """The modules whose function a family's models call, once one of them is there."""
    model = zoo.build(name).model
    family = family_of(model)
    return list(slow_scatters(resolve(model, family.embedder) if family.embedder else model))


class Counted:
    """A function, and how often it was called."""

    def __init__(self, function: Any) -> None:
        self.function = function
        self.calls = 0

    def __call__(self, *args: Any) -> Any:
        self.calls += 1
        return self.function(*args)


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
    module = modules_of(name)[0]
    theirs = module.masked_scatter(embeddings, mask, features)
    assert ours.dtype == theirs.dtype == into
    assert mx.array_equal(ours, theirs)


@pytest.mark.parametrize("name", SLOW)
def test_an_attached_model_looks_for_no_number(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = zoo.build(name)
    images = [A, B][: tiny.max_images]
    expected = embedded(tiny, prepared(tiny, images))
    module = modules_of(name)[0]
    original = module.masked_scatter
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attached:
        with monkeypatch.context() as patched:
            patched.setattr(module.masked_scatter, "original", Unasked())
            for _ in range(2):
                assert same(embedded(tiny, prepared(tiny, images)), expected)
        with attached.bypass(), monkeypatch.context() as patched:
            asked = Counted(original)
            patched.setattr(module.masked_scatter, "original", asked)
            assert same(embedded(tiny, prepared(tiny, images)), expected)
            assert asked.calls
    assert module.masked_scatter is original


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

    def rounded(embeddings: mx.array, mask: mx.array, features: mx.array) -> mx.array:
        flat = mx.flatten(embeddings)
        flat[mx.array(np.where(mx.flatten(mask))[0])] = mx.flatten(features).astype(mx.float16)
        return flat.reshape(embeddings.shape)

    def of_one_prompt(embeddings: mx.array, mask: mx.array, features: mx.array) -> mx.array:
        places, numbers = np.where(mask)
        return embeddings + features[mx.array(places), mx.array(numbers)]

    assert not any(map(_is_slow, (backwards, rounded, of_one_prompt)))


def test_only_the_attached_model_is_served_so_and_only_while_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny, other = zoo.build("qwen3_vl"), zoo.build("qwen3_vl")
    original = qwen3_vl.masked_scatter
    expected = embedded(other, prepared(other, [A, B]))
    asked = Counted(original)
    with attach(tiny.model, tiny.processor, VisionFeatureCache()):
        taken = qwen3_vl.masked_scatter
        assert taken is not original
        with monkeypatch.context() as patched:
            patched.setattr(taken, "original", asked)
            assert same(embedded(other, prepared(other, [A, B])), expected)
            assert asked.calls == 1
        with attach(other.model, other.processor, VisionFeatureCache()):
            assert qwen3_vl.masked_scatter is taken
        assert qwen3_vl.masked_scatter is taken
    assert qwen3_vl.masked_scatter is original


def test_a_module_that_imports_a_taken_function_is_taken_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = zoo.build("qwen3_vl"), zoo.build("qwen3_5")
    original = qwen3_vl.masked_scatter
    with attach(first.model, first.processor, VisionFeatureCache()) as attached:
        monkeypatch.setattr(qwen3_5, "masked_scatter", qwen3_vl.masked_scatter)  # as its import would
        with attach(second.model, second.processor, VisionFeatureCache()):
            attached.detach()
            assert qwen3_5.masked_scatter.original is original
    assert qwen3_vl.masked_scatter is qwen3_5.masked_scatter is original


def test_a_class_of_no_imported_module_is_attached(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = zoo.build("qwen3_vl")
    expected = embedded(tiny, prepared(tiny, [A]))
    kind = type(tiny.model)
    monkeypatch.setattr(
        tiny.model, "__class__", type("Model", (kind,), {"__module__": "somewhere.qwen3_vl.model"})
    )
    assert [module.__name__ for module in slow_scatters(tiny.model)] == [kind.__module__]
    with attach(tiny.model, tiny.processor, VisionFeatureCache()):
        assert same(embedded(tiny, prepared(tiny, [A])), expected)
