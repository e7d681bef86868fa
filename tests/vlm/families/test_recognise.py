"""Models that are in no row of the table: recognised by their layout and checked, or refused in a line."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import pytest
import zoo
from harness import embedded, greedy, prepared, same
from mlx import nn
from mlx_vlm.models import llava
from mlx_vlm.models.internvl import Model
from zoo import internvl

from visioncache import VisionFeatureCache
from visioncache.vlm import FAMILIES, attach
from visioncache.vlm.patching.missing import MissingNameError

A, B, _ = zoo.photos()


@pytest.fixture(autouse=True)
def _internvl_is_in_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(FAMILIES, "internvl")


def internvl_of(model_class: type = Model) -> zoo.Tiny:
    return internvl.build(model_class)


def test_a_family_laid_out_like_others_is_recognised_and_says_so() -> None:
    tiny = internvl_of()
    plain = greedy(tiny, [A, B])
    cache = VisionFeatureCache()
    with pytest.warns(
        UserWarning, match="internvl is not in visioncache's table of families; its vision_tower"
    ):
        attachment = attach(tiny.model, tiny.processor, cache)
    with attachment:
        assert greedy(tiny, [A, B]) == plain
        before = attachment.stages.totals()
        assert greedy(tiny, [A, B]) == plain
        work = attachment.stages.totals().since(before).counts
        assert (work["decode"], work["preprocess"], work["tower"]) == (0, 0, 0)
        assert not same(embedded(tiny, prepared(tiny, [A])), embedded(tiny, prepared(tiny, [B])))
    assert len(cache) == 3
    assert greedy(tiny, [A, B]) == plain


class Scaling(Model):
    """Takes something with the pixels that no row of a table could know of."""

    def get_input_embeddings(
        self, input_ids: Any, pixel_values: Any = None, scales: Any = None, **kwargs: Any
    ) -> Any:
        if scales is not None:
            pixel_values = pixel_values * scales[:, None, None, None]
        return super().get_input_embeddings(input_ids, pixel_values, **kwargs)


Scaling.__module__ = Model.__module__


@pytest.mark.filterwarnings("ignore:internvl is not in")
def test_whatever_stands_beside_prepared_pixels_is_part_of_their_identity() -> None:
    tiny, cache = internvl_of(Scaling), VisionFeatureCache()
    inputs = prepared(tiny, [A])
    inputs["pixel_values"] = inputs["pixel_values"].reshape(-1, *inputs["pixel_values"].shape[-3:])
    rows = len(inputs["pixel_values"])
    scaled = [{**inputs, "scales": mx.full((rows,), scale)} for scale in (1.0, 2.0)]
    plain = [embedded(tiny, given) for given in scaled]
    assert not same(*plain)
    with attach(tiny.model, None, cache):
        for _ in range(2):
            assert all(map(same, [embedded(tiny, given) for given in scaled], plain))
    assert (cache.info().hits, cache.info().misses) == (2, 2)


class Peeking(Model):
    """Reads the pixels beside its projector too."""

    def get_input_embeddings(self, input_ids: Any, pixel_values: Any = None, **kwargs: Any) -> Any:
        features = super().get_input_embeddings(input_ids, pixel_values, **kwargs)
        if pixel_values is not None:
            features.inputs_embeds = features.inputs_embeds + pixel_values.mean()
        return features


Peeking.__module__ = Model.__module__


@pytest.mark.filterwarnings("ignore:internvl is not in")
def test_what_is_not_as_it_was_taken_for_is_refused_before_it_is_stored() -> None:
    tiny, cache = internvl_of(Peeking), VisionFeatureCache()
    with attach(tiny.model, tiny.processor, cache):
        for _ in range(2):
            with pytest.raises(ValueError, match="depends on the pixels beside its projector; it is not"):
                embedded(tiny, prepared(tiny, [A]))
    assert len(cache) == 0


def test_a_model_without_a_known_layout_is_refused_in_one_line() -> None:
    class Odd(nn.Module):
        """Without what a layout is known by."""

        config = SimpleNamespace(model_type="odd")

    with pytest.raises(ValueError, match="models of type 'odd' are not supported; `visioncache families`"):
        attach(Odd(), None, VisionFeatureCache())


def test_a_users_own_class_without_a_part_of_its_family_is_refused_in_one_line() -> None:
    tiny = zoo.build("llava")
    del tiny.model["multi_modal_projector"]
    tiny.model.__class__ = type("Odd", (llava.Model,), {"__module__": "somewhere.else.entirely"})
    with pytest.raises(MissingNameError, match="has no `multi_modal_projector` in this Odd"):
        attach(tiny.model, None, VisionFeatureCache())


@pytest.mark.parametrize("name", ["llava", "qwen2_5_vl", "qwen3_5", "gemma3", "phi3_v", "idefics3"])
def test_a_model_that_is_not_what_its_config_says_is_told_so(name: str) -> None:
    class Model(nn.Module):
        """As mlx-lm's of that name, which sees no images."""

        config = SimpleNamespace(model_type=name)

    Model.__module__ = f"mlx_lm.models.{name}"
    Model.__qualname__ = "Model"
    told = (
        f"this model is a mlx_lm.models.{name}.Model, though its config says '{name}'; what is supported by "
        f"that name is mlx_vlm.models.{name}.Model, as mlx_vlm.load returns it"
    )
    with pytest.raises(ValueError, match=f"^{told}$"):
        attach(Model(), None, VisionFeatureCache())
