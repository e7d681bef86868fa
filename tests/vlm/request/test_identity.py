"""The identity of features: everything that makes them, wherever a model keeps it, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mlx.core as mx
import pytest
import zoo
from harness import asked, embedded, prepared, same
from mlx import nn
from mlx.utils import tree_flatten, tree_map, tree_unflatten

from visioncache import Key, VisionFeatureCache
from visioncache.vlm import attach
from visioncache.vlm.scope import values
from visioncache.vlm.scope.anatomy import Anatomy

if TYPE_CHECKING:
    from collections.abc import Callable

A, B, _ = zoo.photos()
WIDE = B.resize((112, 112))


def everywhere(model: Any) -> None:
    model.vision_tower.fullatt_block_indexes = [0, 1]


def everywhere_in_place(model: Any) -> None:
    model.vision_tower.fullatt_block_indexes.append(0)


def other_windows(model: Any) -> None:
    model.vision_tower.window_size = 28


def another_function(model: Any) -> None:
    merger = model.vision_tower.merger
    merger.mlp = [merger.mlp[0], lambda x: x, *merger.mlp[2:]]


def another_module_in_place(model: Any) -> None:
    model.vision_tower.merger.mlp[1] = nn.ReLU()


def another_deepstack(model: Any) -> None:
    model.vision_tower.deepstack_visual_indexes = [1, 0, 1]


def other_positions(model: Any) -> None:
    model.resampler.pos_embed = model.resampler.pos_embed + 0.5


def full_attention(model: Any) -> None:
    model.vision_tower.config.layer_types[0] = "full_attention"


def fewer_projectors(model: Any) -> None:
    model.config.use_spatial_sampling = False


def the_models_own_layer(model: Any) -> None:
    model.vision_feature_layer = 0


def in_half(name: str) -> Callable[[Any], None]:
    def halved(model: Any) -> None:
        model[name].update(
            tree_map(
                lambda a: a.astype(mx.bfloat16) if mx.issubdtype(a.dtype, mx.floating) else a,
                model[name].parameters(),
            )
        )

    halved.__name__ = f"{name} in bfloat16"
    return halved


@pytest.mark.parametrize("when", ["while attached", "before it is attached again"])
@pytest.mark.parametrize(
    ("family", "change"),
    [
        ("qwen2_5_vl", everywhere),
        ("qwen2_5_vl", everywhere_in_place),
        ("qwen2_5_vl", other_windows),
        ("qwen2_5_vl", another_function),
        ("qwen2_5_vl", another_module_in_place),
        ("qwen3_vl", another_deepstack),
        ("minicpmo", other_positions),
        ("muse_glimmer", full_attention),
        ("llava", the_models_own_layer),
        ("granite4_vision", fewer_projectors),
        ("gemma3", in_half("language_model")),
        ("paligemma", in_half("language_model")),
        ("moondream3", in_half("text")),
    ],
)
def test_what_features_depend_on_besides_weights_is_noticed(
    family: str, change: Callable[[Any], None], when: str
) -> None:
    tiny, cache = zoo.build(family), VisionFeatureCache()
    before = embedded(tiny, prepared(tiny, [WIDE]))
    with attach(tiny.model, tiny.processor, cache):
        embedded(tiny, prepared(tiny, [WIDE]))
        if when == "while attached":
            change(tiny.model)
            after = embedded(tiny, prepared(tiny, [WIDE]))
    if when != "while attached":
        change(tiny.model)
        with attach(tiny.model, tiny.processor, cache):
            after = embedded(tiny, prepared(tiny, [WIDE]))
    plain = embedded(tiny, prepared(tiny, [WIDE]))
    assert not same(plain, before)  # else it would not matter
    assert same(after, plain)
    assert (cache.info().hits, cache.info().misses) == (0, 2)


@pytest.mark.parametrize(
    ("family", "vision"),
    [
        ("qwen3_vl", "vision_tower."),
        ("qwen3_omni_moe", "thinker.vision_tower."),
        ("phi3_v", "model.vision_embed_tokens."),
    ],
)
def test_it_changes_with_each_weight_of_the_vision_side_alone(family: str, vision: str) -> None:
    tiny = zoo.build(family)
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attachment:
        before = attachment.scope
        counts = {True: 0, False: 0}
        for name, weight in tree_flatten(tiny.model.parameters()):
            tiny.model.update(tree_unflatten([(name, weight + 1)]))
            changes = attachment.scope != before
            tiny.model.update(tree_unflatten([(name, weight)]))
            assert changes == name.startswith(vision), name
            counts[changes] += 1
        assert attachment.scope == before
    assert all(counts.values())


def test_another_projector_inside_the_language_model_is_noticed() -> None:
    tiny, other = zoo.build("falcon_ocr"), zoo.build("falcon_ocr", seed=1)
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attachment:
        before = attachment.scope
        inner = tiny.model.language_model.model
        inner.img_projector = other.model.language_model.model.img_projector
        assert attachment.scope != before


def test_only_arrays_that_are_new_are_hashed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny, hashed = zoo.build("qwen2_5_vl"), []
    content = values.content
    monkeypatch.setattr(values, "content", lambda array: hashed.append(array) or content(array))
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attached:
        scope = attached.scope
        hashed.clear()
        other_windows(tiny.model)
        assert attached.scope != scope
        assert hashed == []
        tower = tiny.model.vision_tower
        tower.merger.ln_q.weight = tower.merger.ln_q.weight + 1
        assert attached.scope != scope
        assert len(hashed) == 1


def test_a_models_state_is_no_part_of_it() -> None:
    tiny, cache = zoo.build("qwen2_5_vl"), VisionFeatureCache()
    asked(tiny, cache, A)
    with attach(tiny.model, tiny.processor, cache) as attached:
        scope = attached.scope
        tiny.model.vision_tower._seen = mx.ones(3)
        tiny.model.train()
        tiny.model.eval()
        assert attached.scope == scope
    assert asked(tiny, cache, A) == (1, 0)


def digest(value: Any) -> str:
    described = Anatomy()
    described.add("it", value)
    return described.digest


def adder(y: int) -> Callable[[int], int]:
    return lambda x: x + y


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda x: x + 1, lambda x: x + 2),
        (adder(1), adder(2)),
        (nn.gelu, nn.relu),
        (mx.float16, mx.bfloat16),
        ({1: "a"}, {"1": "a"}),
        ([1, [2]], [1, 2]),
        (mx.array([1, 2]), mx.array([[1, 2]])),
        (mx.array([1, 2]), mx.array([1, 2], dtype=mx.uint32)),
        (mx.array([1.0, 2.0]), mx.array([1.0, 2.0])[::-1]),
        (mx.array(True), mx.array(False)),
        (mx.zeros((0, 2)), mx.zeros((2, 0))),
        (nn.GELU(), nn.ReLU()),
        ({"a", "b"}, {"a"}),
        (range(3), range(4)),
    ],
)
def test_what_differs_is_described_differently(one: Any, other: Any) -> None:
    assert digest(one) != digest(other)
    assert digest(one) == digest(one)


def test_an_array_of_several_pieces_is_known_by_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "PIECE", 64)
    array = mx.arange(100, dtype=mx.float32)
    digests = {digest(array)}
    for i in (0, 15, 16, 99):
        edited = mx.array(array)
        edited[i] = -1
        digests.add(digest(edited))
    assert len(digests) == 5


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16, mx.float16, mx.bool_, mx.complex64, mx.int8])
@pytest.mark.parametrize("shape", [(), (3, 0), (5, 7), (2, 3, 4)])
def test_an_array_is_described_by_the_same_bytes_however_it_lies(
    shape: tuple[int, ...], dtype: mx.Dtype
) -> None:
    array = mx.random.uniform(-9, 9, shape).astype(dtype)
    for lain in (array, array.T, array[..., ::2] if shape else array, mx.broadcast_to(array, (2, *shape))):
        copied = mx.contiguous(lain).reshape(-1).view(mx.uint8)
        expected = [Key.from_array(copied).text] if copied.size else []
        assert values.content(lain) == " ".join([str(dtype), str(lain.shape), *expected])


def test_what_holds_itself_is_described() -> None:
    ring: list[Any] = [1]
    ring.append(ring)
    assert digest(ring) != digest([1, [1]])
