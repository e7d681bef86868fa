"""A family is believed with the sources it was proven with; with others it is compared first."""

from __future__ import annotations

import gc
import json
import sys
import warnings
from contextlib import closing, contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
import pytest
import zoo
from harness import embedded, prepared, same

from visioncache import VisionFeatureCache
from visioncache.vlm import FAMILIES, attach
from visioncache.vlm.families import compared, proven, trust
from visioncache.vlm.families.table import KIN
from visioncache.vlm.patching import mlx_vlm as hooks
from visioncache.vlm.patching.missing import MissingNameError
from visioncache.vlm.request.prompts import other_prompts
from visioncache.vlm.scope.code import version

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAMES = sorted({*FAMILIES, *KIN})
A, B, C = zoo.photos()


@pytest.fixture
def unproven(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing was ever proven."""
    monkeypatch.setattr(proven, "proven", dict)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def calls_of(tiny: zoo.Tiny) -> Iterator[list[int]]:
    """A list that grows by one whenever the vision tower runs, which is left as it is."""
    calls: list[int] = []
    code = type(tiny.model.vision_tower).__call__.__code__

    def noted(frame: Any, event: str, _: Any) -> None:
        if event == "call" and frame.f_code is code:
            calls.append(1)

    before = sys.getprofile()
    sys.setprofile(noted)
    try:
        yield calls
    finally:
        sys.setprofile(before)


@pytest.mark.parametrize("name", NAMES)
def test_every_family_is_proven_with_the_mlx_vlm_that_is_installed(name: str) -> None:
    assert proven.is_proven(name, version("mlx-vlm"))


@pytest.mark.usefixtures("unproven")
@pytest.mark.parametrize("speedup", ["device pixels", "positions"])
def test_a_speedup_that_takes_the_place_of_a_familys_own_code_is_off_where_that_is_not_proven(
    speedup: str,
) -> None:
    tiny = zoo.build("qwen2_5_vl")
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attached:
        assert str(attached.speedups[speedup]) == f"{speedup} off: this version of the family isn't proven"
        prepared(tiny, [A])
        assert attached.processor_side is not None
        assert attached.processor_side._preprocessor._quick._filled[1] is None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("unproven")
def test_a_family_taken_for_unproven_is_confirmed(name: str) -> None:
    tiny = zoo.build(name)
    requests = [[A]] if tiny.max_images == 1 else [[A], [A, B], [B, A]]
    plain = [embedded(tiny, prepared(tiny, images)) for images in requests]
    with attach(tiny.model, tiny.processor, VisionFeatureCache(200)) as attached:
        assert not attached.trust.proven
        for _ in range(2):
            for images, expected in zip(requests, plain, strict=True):
                given = embedded(tiny, prepared(tiny, images))
                assert set(given) == set(expected)
        assert attached.cache.info().hits > 0


def test_a_proven_family_costs_no_encode_more() -> None:
    tiny = zoo.build("llava")
    with calls_of(tiny) as calls, attach(tiny.model, tiny.processor, VisionFeatureCache()) as attached:
        assert attached.trust.note == ""
        embedded(tiny, prepared(tiny, [A, B]))
        assert len(calls) == 2
        embedded(tiny, prepared(tiny, [B, A]))
        assert len(calls) == 2


def test_an_unproven_family_says_so_and_costs_one_answer_of_its_own_a_kind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tiny = zoo.build("llava")
    monkeypatch.setattr(trust, "version", lambda _: "0.7.99")
    with pytest.warns(
        UserWarning, match=r"^llava of mlx-vlm 0\.7\.99 is not what visioncache was proven with"
    ):
        attached = attach(tiny.model, tiny.processor, VisionFeatureCache())
    with attached, calls_of(tiny) as calls:
        embedded(tiny, prepared(tiny, [A]))
        assert len(calls) == 4  # alone, in a longer prompt, and its own of two prompts
        embedded(tiny, prepared(tiny, [A, B]))
        assert len(calls) == 4 + 2 + 2  # B alone, twice, and both at once, twice
        embedded(tiny, prepared(tiny, [A, B.rotate(180)]))
        assert len(calls) == 9  # the new one
        embedded(tiny, prepared(tiny, [B, A]))
        assert len(calls) == 9 + 2  # both at once, twice: processors may sort images by size
        embedded(tiny, prepared(tiny, [A]))
        assert len(calls) == 11


def test_another_source_is_no_proven_one(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = zoo.build("llava")
    monkeypatch.setattr(proven, "source_digest", lambda _: "0" * 16)
    with pytest.warns(UserWarning, match="another source than it was proven with"):
        attach(tiny.model, tiny.processor, VisionFeatureCache()).detach()


@pytest.mark.usefixtures("unproven")
def test_what_was_compared_is_remembered_in_the_stores_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = zoo.build("llava")
    monkeypatch.setattr(compared, "_of_model", lambda _: set())  # each attachment is another process

    def asked(weights: float = 1.0) -> int:
        projector = tiny.model.multi_modal_projector
        projector.linear_1.weight = projector.linear_1.weight * weights
        with (
            calls_of(tiny) as calls,
            closing(VisionFeatureCache(store=tmp_path)) as cache,
            attach(tiny.model, tiny.processor, cache),
        ):
            embedded(tiny, prepared(tiny, [C]))
        return len(calls)

    assert asked() == 4  # alone, in a longer prompt, and its own of two prompts
    assert asked() == 0  # neither encoded nor compared
    assert asked(weights=1.5) == 4  # another model
    (tmp_path / compared.FILE).write_text("{ torn")
    assert asked() == 2  # its features are known, and compared again in two prompts
    assert json.loads((tmp_path / compared.FILE).read_text())


@pytest.mark.usefixtures("unproven")
def test_what_was_compared_is_remembered_with_the_model() -> None:
    tiny, other = zoo.build("llava"), zoo.build("llava")

    def asked(of: zoo.Tiny) -> int:
        with calls_of(of) as calls, attach(of.model, of.processor, VisionFeatureCache()):
            embedded(of, prepared(of, [C]))
        return len(calls)

    assert asked(tiny) == 4  # alone, in a longer prompt, and its own of two prompts
    assert asked(tiny) == 1  # encoded for another cache, not compared
    assert asked(other) == 4
    projector = tiny.model.multi_modal_projector
    projector.linear_1.weight = projector.linear_1.weight * 1.5
    assert asked(tiny) == 4  # other weights
    name = id(tiny.model)
    assert name in compared._models
    del tiny, projector
    gc.collect()
    assert name not in compared._models


@pytest.mark.usefixtures("unproven")
def test_what_differs_is_refused_and_nothing_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = zoo.build("llava")
    original = type(tiny.model)._merge_input_ids_with_image_features
    cache = VisionFeatureCache()
    with attach(tiny.model, tiny.processor, cache):
        monkeypatch.setattr(
            type(tiny.model),
            "_merge_input_ids_with_image_features",
            lambda self, features, *rest: original(self, features * mx.random.normal(()), *rest),
        )
        for images, kind in (([A], "an image"), ([A, B], "two images")):
            for _ in range(2):
                with pytest.raises(ValueError, match=f"{kind}: .* with a cache; nothing is stored"):
                    embedded(tiny, prepared(tiny, images))
    assert len(cache) == 0


@pytest.mark.usefixtures("unproven")
@pytest.mark.parametrize("images", [[A], [A, B]], ids=["one", "two"])
def test_features_that_depend_on_the_prompts_length_are_not_cached(
    images: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = zoo.build("llava")
    own = type(tiny.model).get_input_embeddings

    def by_length(self: Any, input_ids: Any, pixel_values: Any = None, **inputs: Any) -> Any:
        pixels = None if pixel_values is None else pixel_values * (input_ids.shape[1] / 100)
        return own(self, input_ids, pixels, **inputs)

    monkeypatch.setattr(type(tiny.model), "get_input_embeddings", by_length)
    prompts = [tiny.prompt(len(images)) + more for more in ("", " And why?", "")]
    plain = [embedded(tiny, prepared(tiny, images, prompt)) for prompt in prompts]
    with attach(tiny.model, tiny.processor, VisionFeatureCache()):
        for prompt, expected in zip(prompts, plain, strict=True):
            assert same(embedded(tiny, prepared(tiny, images, prompt)), expected)


@pytest.mark.usefixtures("unproven")
def test_features_that_some_prompts_change_are_believed_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = zoo.build("llava")
    own = type(tiny.model).get_input_embeddings

    def by_length(self: Any, input_ids: Any, pixel_values: Any = None, **inputs: Any) -> Any:
        factor = 2.0 if input_ids.shape[1] == long else 1.0  # and no other length
        return own(self, input_ids, None if pixel_values is None else pixel_values * factor, **inputs)

    monkeypatch.setattr(type(tiny.model), "get_input_embeddings", by_length)
    long = prepared(tiny, [A])["input_ids"].shape[1] + 1
    requests = [[A], [A, B], [A]]  # of the second alone, nothing would be seen
    plain = [embedded(tiny, prepared(tiny, images)) for images in requests]
    cache = VisionFeatureCache()
    with attach(tiny.model, tiny.processor, cache):
        for images, expected in zip(requests, plain, strict=True):
            assert same(embedded(tiny, prepared(tiny, images)), expected)
    assert len(cache) == 0


@pytest.mark.parametrize(
    ("ids", "others"),
    [
        ([5, 4, 0], [4, 5, 1]),  # 3 is an image's; there is none before 0
        ([3, 3, 6], [3, 3, 5]),
        ([2, 4, 4], [1, 4, 4]),  # 5 may be none: the vocabulary may end before it
        ([0], [0]),
    ],
)
def test_a_prompt_of_other_words_has_no_word_of_its_own_where_that_is_possible(
    ids: list[int], others: list[int]
) -> None:
    inputs = {"input_ids": mx.array([ids]), "pixel_values": mx.ones((1, 2))}
    config = SimpleNamespace(image_token_id=3, hidden_size=7)
    other, longer = other_prompts(inputs, {"pixel_values"}, config)
    assert other["input_ids"].tolist() == [[*others, others[-1]]]
    assert longer["input_ids"].tolist() == [[*ids, ids[-1]]]


def test_a_prompt_is_made_longer_up_to_the_longest_of_its_kind() -> None:
    for now, expected in ((20, [31, 31, 21, 21]), (21, [30, 30, 22, 22]), (31, [32, 32])):
        inputs = {"input_ids": mx.array([[4] * now]), "attention_mask": mx.ones((1, now))}
        lengths = [other["input_ids"].shape[1] for other in other_prompts(inputs, set(), SimpleNamespace())]
        assert lengths == expected


@pytest.mark.usefixtures("unproven")
def test_a_kind_that_differed_once_is_not_believed_for_images_that_show_nothing() -> None:
    tiny = zoo.build("llava")
    described = SimpleNamespace(last="as it is", has_users_code=False)
    alone, several = (trust.Kind.of(n, 0, [mx.ones((n, 3, 8, 8))]) for n in (1, 2))
    one, other = mx.ones((3,)), mx.zeros((3,))
    for kind, why in ((several, "one of its kind differed"), (alone, "an image alone differs")):
        judge = trust.Trust(tiny.model, FAMILIES["llava"], VisionFeatureCache(), lambda: [described])
        with pytest.raises(ValueError, match="is given other output"):
            judge.compare(kind, (one, other))
        with pytest.raises(ValueError, match=why):
            judge.compare(kind, (one, one))
        assert not judge.knows(kind)
    with pytest.raises(ValueError, match="an image alone differs"):
        judge.compare(several, (one, one))


@pytest.mark.usefixtures("unproven")
def test_an_error_of_the_model_itself_stays_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = zoo.build("llava")

    def fail(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("in the tower")

    monkeypatch.setattr(type(tiny.model.vision_tower), "__call__", fail)
    with (
        attach(tiny.model, tiny.processor, VisionFeatureCache()),
        pytest.raises(ZeroDivisionError),
    ):
        embedded(tiny, prepared(tiny, [A]))


@pytest.mark.usefixtures("unproven")
def test_two_caches_of_one_family_compare_alone_and_prepared() -> None:
    tiny = zoo.build("gemma3")
    inputs = prepared(tiny, [A, B])
    plain = embedded(tiny, dict(inputs))
    with attach(tiny.model, None, VisionFeatureCache()) as attached:
        for _ in range(2):
            assert same(embedded(tiny, dict(inputs)), plain)
        assert attached.stages.totals().counts["tower"] == 3  # one of them in a longer prompt too
        pixels = inputs["pixel_values"]
        tokens = inputs["input_ids"].size.bit_length()
        assert attached.trust.knows(replace(trust.Kind.of(2, 0, pixels), tokens=tokens))
        assert not attached.trust.knows(replace(trust.Kind.of(1, 0, pixels[:1]), tokens=tokens))


def test_a_missing_part_is_one_line() -> None:
    tiny = zoo.build("llava")
    tiny.model.bridge = tiny.model.multi_modal_projector
    del tiny.model["multi_modal_projector"]
    with pytest.raises(MissingNameError) as told:
        attach(tiny.model, tiny.processor, VisionFeatureCache())
    assert "has no `multi_modal_projector` in this Model" in str(told.value)
    assert "\n" not in str(told.value)


def test_a_missing_function_is_one_line_and_leaves_nothing_attached(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = zoo.build("llava")
    classes = type(tiny.model), type(tiny.processor)
    monkeypatch.delattr(hooks.dispatch, "generate_step")
    with pytest.raises(MissingNameError, match="has no `generate_step` in mlx_vlm.generate.dispatch"):
        attach(tiny.model, tiny.processor, VisionFeatureCache())
    assert (type(tiny.model), type(tiny.processor)) == classes
    assert not hooks.current()


def test_sources_are_digested_with_all_that_they_import() -> None:
    assert len({proven.source_digest(name) for name in NAMES}) == len(NAMES)
    reached = proven._reached("mlx_vlm.models.qwen2_5_vl")
    assert "mlx_vlm.models.qwen3_vl.processing_qwen3_vl" in reached  # its processor's images
    assert {"mlx_vlm.utils", "mlx_vlm.models.base"} <= reached
    assert not any(name.startswith("mlx_vlm.models.llava") for name in reached)


def test_nans_of_pixels_keep_their_shape_and_type() -> None:
    pixels = [mx.ones((2, 3)), np.ones((4,), np.float32), mx.ones((3,), mx.int32)]
    told = trust.unreadable(pixels)
    assert [array.shape for array in told] == [(2, 3), (4,), (3,)]
    assert [str(array.dtype) for array in told] == ["mlx.core.float32", "float32", "mlx.core.int32"]
    assert all(np.isnan(np.array(array)).all() for array in told[:2])
