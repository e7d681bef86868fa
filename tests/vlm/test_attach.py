"""attach on a tiny Qwen2.5-VL: identities, faults, threads, and what must never hit."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import mlx_vlm.utils
import pytest
import zoo
from harness import asked, embedded, greedy, prepared, same
from mlx import nn
from mlx.utils import tree_flatten, tree_map
from mlx_vlm.trainer.peft.utils import get_peft_model

from visioncache import VisionFeatureCache
from visioncache.vlm import attach, fingerprint
from visioncache.vlm.patching.instances import is_patched
from visioncache.vlm.prefixes import Prefixes

if TYPE_CHECKING:
    from collections.abc import Callable

A, B, C = zoo.photos()


@pytest.fixture
def tiny() -> zoo.Tiny:
    return zoo.build("qwen2_5_vl")


@pytest.fixture
def cache() -> VisionFeatureCache:
    return VisionFeatureCache()


def test_the_same_model_hits_when_it_is_attached_again(tiny: zoo.Tiny, cache: VisionFeatureCache) -> None:
    assert asked(tiny, cache, A) == (0, 1)
    assert asked(tiny, cache, A) == (1, 0)
    assert asked(zoo.build("qwen2_5_vl"), cache, A) == (1, 0)


def test_a_thumbnail_stays_when_a_model_is_loaded_and_attached_again(cache: VisionFeatureCache) -> None:
    for _ in range(2):
        tiny = zoo.build("qwen2_5_vl")
        with attach(tiny.model, tiny.processor, cache) as attached:
            embedded(tiny, prepared(tiny, [A]))
            (entry,) = cache.entries()
            assert attached.thumbnail(entry.key) is not None
    assert (cache.info().hits, cache.info().misses) == (1, 1)
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as other:
        assert other.thumbnail(entry.key) is None


# What must never hit ------------------------------------------------------------------------------


def test_another_checkpoint_never_hits(tiny: zoo.Tiny, cache: VisionFeatureCache) -> None:
    asked(tiny, cache, A)
    assert asked(zoo.build("qwen2_5_vl", seed=1), cache, A) == (0, 1)


def test_another_dtype_never_hits(tiny: zoo.Tiny, cache: VisionFeatureCache) -> None:
    asked(tiny, cache, A)
    tiny.model.set_dtype(mx.float16)
    assert asked(tiny, cache, A) == (0, 1)


def test_a_quantised_tower_never_hits(tiny: zoo.Tiny, cache: VisionFeatureCache) -> None:
    asked(tiny, cache, A)
    nn.quantize(
        tiny.model.vision_tower,
        group_size=32,
        class_predicate=lambda _, m: hasattr(m, "to_quantized") and m.weight.shape[-1] % 32 == 0,
    )
    plain = greedy(tiny, [A])
    assert asked(tiny, cache, A) == (0, 1)
    with attach(tiny.model, tiny.processor, cache):
        assert greedy(tiny, [A]) == plain
    assert asked(tiny, cache, A) == (1, 0)


def test_an_adapter_on_the_vision_side_never_hits(tiny: zoo.Tiny, cache: VisionFeatureCache) -> None:
    asked(tiny, cache, A)
    linear = tiny.model.vision_tower.blocks[0].mlp.down_proj

    class Adapter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.scale = linear, 2.0

        def __call__(self, x: mx.array) -> mx.array:
            return self.linear(x) * self.scale

    tiny.model.vision_tower.blocks[0].mlp.down_proj = Adapter()
    assert asked(tiny, cache, A) == (0, 1)


def test_mlx_vlms_own_lora_on_the_vision_side_never_hits(tiny: zoo.Tiny, cache: VisionFeatureCache) -> None:
    asked(tiny, cache, A)
    name = "vision_tower.blocks.0.mlp.down_proj"
    get_peft_model(tiny.model, [name], rank=2, alpha=8, dropout=0, verbose=False)
    tiny.model.eval()
    assert asked(tiny, cache, A) == (0, 1)
    with attach(tiny.model, tiny.processor, cache), cache.watch() as delta:
        adapter = tiny.model.vision_tower.blocks[0].mlp.down_proj
        adapter.update(tree_map(lambda weight: weight + 0.5, adapter.trainable_parameters()))
        adapted = embedded(tiny, prepared(tiny, [A]))
    assert (delta.hits, delta.misses) == (0, 1)
    assert same(adapted, embedded(tiny, prepared(tiny, [A])))


def test_lora_on_the_language_side_changes_no_feature(tiny: zoo.Tiny, cache: VisionFeatureCache) -> None:
    asked(tiny, cache, A)
    layer = "language_model.model.layers.0.mlp.down_proj"
    get_peft_model(tiny.model, [layer], rank=2, alpha=8, dropout=0, verbose=False)
    tiny.model.eval()
    assert asked(tiny, cache, A) == (1, 0)


def test_another_setting_of_the_processor_never_hits(tiny: zoo.Tiny, cache: VisionFeatureCache) -> None:
    asked(tiny, cache, A)
    tiny.processor.image_processor.image_mean = [0.4, 0.5, 0.5]
    assert asked(tiny, cache, A) == (0, 1)


def test_a_setting_of_the_call_never_hits(tiny: zoo.Tiny, cache: VisionFeatureCache) -> None:
    asked(tiny, cache, A)
    with attach(tiny.model, tiny.processor, cache), cache.watch() as delta:
        mlx_vlm.utils.prepare_inputs(
            tiny.processor, images=[A], prompts=tiny.prompt(1), max_pixels=20 * 14**2
        )
    assert (delta.hits, delta.misses) == (0, 1)


def test_another_resize_shape_never_hits(tiny: zoo.Tiny, cache: VisionFeatureCache) -> None:
    asked(tiny, cache, A)
    with attach(tiny.model, tiny.processor, cache), cache.watch() as delta:
        for shape in ((60, 60), (90, 90), (60, 60)):
            inputs = mlx_vlm.utils.prepare_inputs(
                tiny.processor, images=[A], prompts=tiny.prompt(1), resize_shape=shape
            )
            embedded(tiny, inputs)
    assert (delta.hits, delta.misses) == (1, 2)


def test_another_version_of_mlx_vlm_never_hits(
    tiny: zoo.Tiny, cache: VisionFeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked(tiny, cache, A)
    monkeypatch.setattr(fingerprint, "version", lambda _: "0.7.11")
    assert asked(tiny, cache, A) == (0, 1)


def test_another_setting_of_the_vision_side_never_hits(
    tiny: zoo.Tiny, cache: VisionFeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked(tiny, cache, A)
    monkeypatch.setattr(tiny.model.config.text_config, "rope_theta", 5.0)
    assert asked(tiny, cache, A) == (1, 0)
    monkeypatch.setattr(tiny.model.config, "vision_feature_layer", -3)
    assert asked(tiny, cache, A) == (0, 1)


def test_weights_that_change_while_attached_are_noticed(tiny: zoo.Tiny, cache: VisionFeatureCache) -> None:
    with attach(tiny.model, tiny.processor, cache):
        embedded(tiny, prepared(tiny, [A]))
        merger = tiny.model.vision_tower.merger
        tiny.model.update({"vision_tower": {"merger": {"ln_q": {"weight": merger.ln_q.weight * 2}}}})
        changed = embedded(tiny, prepared(tiny, [A]))
    assert cache.info().misses == 2
    assert same(changed, embedded(tiny, prepared(tiny, [A])))


def test_a_value_that_is_not_what_was_stored_is_dropped_and_encoded_again(
    tiny: zoo.Tiny, cache: VisionFeatureCache
) -> None:
    with attach(tiny.model, tiny.processor, cache) as attached:
        right = embedded(tiny, prepared(tiny, [A]))
        entry = cache.entries()[0]
        cache.put(entry.key, mx.zeros((3, 48)), meta=entry.meta)
        assert same(embedded(tiny, prepared(tiny, [A])), right)
        assert attached.stages.totals().counts["tower"] == 2


# Between the processor and the model --------------------------------------------------------------


def test_pixels_that_were_changed_on_their_way_are_refused(tiny: zoo.Tiny, cache: VisionFeatureCache) -> None:
    with attach(tiny.model, tiny.processor, cache):
        embedded(tiny, prepared(tiny, [A]))
        inputs = prepared(tiny, [A])
        inputs["pixel_values"] = inputs["pixel_values"] * 1.0
        with pytest.raises(ValueError, match="changed on its way"):
            embedded(tiny, inputs)


def darken(pixels: mx.array) -> None:
    pixels *= 0.5


def blacken_an_edge(pixels: mx.array) -> None:
    pixels[..., 0] = 0


@pytest.mark.parametrize("edit", [darken, blacken_an_edge])
@pytest.mark.parametrize("family", ["qwen2_5_vl", "llava"])
def test_pixels_that_were_written_into_are_refused_on_the_first_look_and_on_the_second(
    family: str, edit: Callable[[mx.array], None], cache: VisionFeatureCache
) -> None:
    tiny = zoo.build(family)

    def of_edited() -> dict[str, Any]:
        inputs = prepared(tiny, [A])
        edit(inputs["pixel_values"])
        return embedded(tiny, inputs)

    plain, edited = embedded(tiny, prepared(tiny, [A])), of_edited()
    with attach(tiny.model, tiny.processor, cache) as attached:
        with pytest.raises(ValueError, match="pixel_values was changed on its way"):
            of_edited()
        assert same(embedded(tiny, prepared(tiny, [A])), plain)
        with pytest.raises(ValueError, match="pixel_values was changed on its way"):
            of_edited()
        with attached.bypass():
            assert same(of_edited(), edited)
        before = prepared(tiny, [A])
    with (
        attach(tiny.model, tiny.processor, cache),
        pytest.raises(ValueError, match="or prepared for another attachment"),
    ):
        embedded(tiny, before)


def test_a_mask_that_was_changed_on_its_way_is_refused(cache: VisionFeatureCache) -> None:
    tiny = zoo.build("idefics3")

    def of_masked() -> dict[str, Any]:
        inputs = prepared(tiny, [A])
        inputs["pixel_attention_mask"][..., :20] = False
        return embedded(tiny, inputs)

    plain, masked = embedded(tiny, prepared(tiny, [A])), of_masked()
    assert not same(plain, masked)
    with attach(tiny.model, tiny.processor, cache):
        for _ in range(2):
            with pytest.raises(ValueError, match="pixel_attention_mask was changed on its way"):
                of_masked()
            assert same(embedded(tiny, prepared(tiny, [A])), plain)


def test_inputs_prepared_for_other_weights_are_not_taken_for_these(
    tiny: zoo.Tiny, cache: VisionFeatureCache
) -> None:
    mine, theirs = (tree_flatten(zoo.build("qwen2_5_vl", seed=seed).model.parameters()) for seed in (0, 1))
    with attach(tiny.model, tiny.processor, cache):
        tiny.model.load_weights(mine)
        inputs = prepared(tiny, [A])
        first = embedded(tiny, inputs)
        known = prepared(tiny, [A])
        tiny.model.load_weights(theirs)
        for prepared_before in (inputs, known):
            with pytest.raises(ValueError, match="prepare it again"):
                embedded(tiny, prepared_before)
        second = embedded(tiny, prepared(tiny, [A]))
        tiny.model.load_weights(mine)
        assert same(embedded(tiny, prepared(tiny, [A])), first)
    tiny.model.load_weights(theirs)
    assert same(second, embedded(tiny, prepared(tiny, [A])))
    assert not same(first, second)


# Faults and threads -------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [RuntimeError("out of memory"), KeyboardInterrupt()])
def test_a_fault_inside_the_tower_leaves_nothing_half_stored(
    tiny: zoo.Tiny, cache: VisionFeatureCache, fault: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = type(tiny.model.vision_tower.blocks[1])
    plain = greedy(tiny, [A])
    with attach(tiny.model, tiny.processor, cache):
        with monkeypatch.context() as patch:

            def fail(*_: Any, **__: Any) -> None:
                raise fault

            patch.setattr(block, "__call__", fail)
            with pytest.raises(type(fault)):
                greedy(tiny, [A])
        assert len(cache) == 0
        assert greedy(tiny, [A]) == plain


def test_two_threads_encode_an_image_once(tiny: zoo.Tiny, cache: VisionFeatureCache) -> None:
    with attach(tiny.model, tiny.processor, cache) as attached:
        inputs = [prepared(tiny, [A, B]) for _ in range(4)]
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(lambda given: embedded(tiny, given), inputs))
        assert attached.stages.totals().counts["tower"] == 2
    assert all(same(result, results[0]) for result in results)


def test_what_one_thread_prepared_another_can_embed(tiny: zoo.Tiny, cache: VisionFeatureCache) -> None:
    """As mlx-vlm's server does; what is left lazy in one thread can't be evaluated in another."""
    with attach(tiny.model, tiny.processor, cache), ThreadPoolExecutor(1) as pool:
        for images in ([A, B], [A], [C, A], [A, B, C]):
            inputs = prepared(tiny, images)
            other = pool.submit(lambda given: mx.eval(given) or embedded(tiny, given), inputs).result()
            assert same(other, embedded(tiny, prepared(tiny, images)))


def test_an_eviction_between_processor_and_model_takes_nothing_away(tiny: zoo.Tiny) -> None:
    cache = VisionFeatureCache(max_size=1)
    plain = greedy(tiny, [A, B, C])
    with attach(tiny.model, tiny.processor, cache):
        for _ in range(3):
            assert greedy(tiny, [A, B, C]) == plain
        inputs = prepared(tiny, [C])
        cache.clear()
        assert same(embedded(tiny, inputs), embedded(tiny, prepared(tiny, [C])))


def test_training_and_bypass_leave_the_cache_alone(tiny: zoo.Tiny, cache: VisionFeatureCache) -> None:
    with attach(tiny.model, tiny.processor, cache) as attached:
        tiny.model.train()
        embedded(tiny, prepared(tiny, [A]))
        assert "unused: the model is in training mode, which model.eval() ends" in repr(attached)
        tiny.model.eval()
        assert "unused" not in repr(attached)
        with attached.bypass():
            embedded(tiny, prepared(tiny, [A]))
        assert cache.info().hits == cache.info().misses == len(cache) == 0


def test_mlx_vlms_own_cache_beside_ours_changes_nothing(tiny: zoo.Tiny, cache: VisionFeatureCache) -> None:
    inputs = prepared(tiny, [A])
    plain = embedded(tiny, dict(inputs))
    with attach(tiny.model, tiny.processor, cache):
        theirs = mlx_vlm.VisionFeatureCache()
        for image in (A, B, A):
            given = prepared(tiny, [image])
            ours = embedded(tiny, {**given, "vision_cache": theirs, "_image_key": "x"})
        assert same(ours, plain)
        assert len(theirs) == 0


def test_an_unsupported_model_is_named() -> None:
    with pytest.raises(ValueError, match="'Linear' are not supported"):
        attach(nn.Linear(2, 2), None, VisionFeatureCache())


def test_models_that_share_a_tower_are_attached_one_at_a_time(
    tiny: zoo.Tiny, cache: VisionFeatureCache
) -> None:
    other = zoo.build("qwen2_5_vl", seed=1)
    other.model.vision_tower = tiny.model.vision_tower
    with attach(tiny.model, tiny.processor, cache):
        with pytest.raises(RuntimeError, match="another model"):
            attach(other.model, other.processor, VisionFeatureCache())
        assert not is_patched(other.model)
        embedded(tiny, prepared(tiny, [A]))
    assert asked(other, VisionFeatureCache(), A) == (0, 1)


def test_an_attach_that_fails_half_way_leaves_nothing_attached(
    tiny: zoo.Tiny, cache: VisionFeatureCache
) -> None:
    class Slotted:
        __slots__ = ("image_processor", "tokenizer")

        def __call__(self, **_: Any) -> None:
            raise NotImplementedError

    odd = Slotted()
    odd.image_processor, odd.tokenizer = tiny.processor.image_processor, tiny.processor.tokenizer
    with pytest.raises(TypeError, match="layout"):
        attach(tiny.model, odd, cache)
    assert not any(map(is_patched, (tiny.model, tiny.model.vision_tower, odd.image_processor)))
    assert asked(tiny, cache, A) == (0, 1)


def test_what_somebody_put_in_the_place_of_mlx_vlms_function_is_called_and_kept(
    tiny: zoo.Tiny, cache: VisionFeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    original = mlx_vlm.utils.process_image

    def theirs(image: Any, *args: Any) -> Any:
        seen.append(image)
        return original(image, *args)

    monkeypatch.setattr(mlx_vlm.utils, "process_image", theirs)
    with attach(tiny.model, tiny.processor, cache):
        prepared(zoo.build("qwen2_5_vl", seed=1), [A])
        assert seen == [A]
    assert mlx_vlm.utils.process_image is theirs


def test_detach_restores_mlx_vlms_own_function(tiny: zoo.Tiny, cache: VisionFeatureCache) -> None:
    before = mlx_vlm.utils.process_image
    with attach(tiny.model, tiny.processor, cache):
        assert mlx_vlm.utils.process_image is not before
    assert mlx_vlm.utils.process_image is before


def test_what_is_no_model_or_no_cache_is_named(tiny: zoo.Tiny, cache: VisionFeatureCache) -> None:
    with pytest.raises(TypeError, match=r"model must be an mlx.nn.Module, got \w+; the order is attach"):
        attach(tiny.processor, tiny.model, cache)
    with pytest.raises(TypeError, match="cache must be visioncache's own, got builtins.int; the order"):
        attach(tiny.model, tiny.processor, 3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="got mlx_vlm.vision_cache.VisionFeatureCache; the order"):
        attach(tiny.model, tiny.processor, mlx_vlm.vision_cache.VisionFeatureCache())


def test_a_model_beside_whose_pixels_are_no_arrays_generates_as_ever(tiny: zoo.Tiny) -> None:
    other = zoo.build("deepseek_v41")  # its processor hands on records
    plain = greedy(other, [A])
    with attach(tiny.model, tiny.processor, VisionFeatureCache()):
        assert greedy(other, [A]) == plain


def test_blocks_that_suspend_nest_and_end_as_they_began(tiny: zoo.Tiny, cache: VisionFeatureCache) -> None:
    with attach(tiny.model, tiny.processor, cache) as attached:
        with attached.suspended():
            with attached.suspended():
                assert not attached.is_attached
            assert not attached.is_attached
        assert attached.is_attached
        inside, over = threading.Event(), threading.Event()

        def suspend() -> None:
            with attached.suspended():
                inside.set()
                over.wait(20)

        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(suspend)
            inside.wait(20)
            with attached.suspended():
                pass
            assert not attached.is_attached
            over.set()
            other.result(20)
        attached.attach()  # once more does no harm
        assert attached.is_attached
        with attached.suspended():
            attached.detach()
        assert not attached.is_attached
        with attached.suspended():
            pass
        assert not attached.is_attached


def test_an_attach_that_is_interrupted_leaves_nothing_attached(
    tiny: zoo.Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: object) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Prefixes, "scope", property(interrupted))
        with pytest.raises(KeyboardInterrupt):
            attach(tiny.model, tiny.processor, prefixes="1 MiB")
    assert not is_patched(tiny.model)
    attach(tiny.model, tiny.processor, prefixes="1 MiB").detach()


@pytest.mark.parametrize("family", ["gemma3", "idefics3", "llava", "mistral3", "qwen2_5_vl"])
def test_two_threads_detach_and_attach_and_leave_the_model_as_it_was(family: str) -> None:
    other, cache = zoo.build(family), VisionFeatureCache()
    plain, kind = greedy(other, [A]), type(other.model)
    attached, errors = attach(other.model, other.processor, cache), []
    before = sys.getswitchinterval()

    def toggle() -> None:
        for _ in range(30):
            try:
                attached.detach()
                attached.attach()
            except Exception as error:  # noqa: BLE001  # whatever it is, there should be none
                errors.append(error)

    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=toggle) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert not errors
    attached.attach()
    assert attached.is_attached
    assert greedy(other, [A]) == plain
    attached.detach()
    assert type(other.model) is kind
    with attach(other.model, other.processor, cache):
        assert greedy(other, [A]) == plain
