"""Prefixes over every family's tiny model: a warm turn is the cold turn, to the last bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mlx.core as mx
import pytest
import zoo
from harness import answers, prepared, same
from mlx_vlm.generate import dispatch
from mlx_vlm.models.cache import make_prompt_cache

from visioncache import VisionFeatureCache
from visioncache.vlm import FAMILIES, attach
from visioncache.vlm.families.left_out import NO_PREFIX, NO_STEPS, UNPROVEN
from visioncache.vlm.families.table import KIN
from visioncache.vlm.prefixes import Prefixes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

NAMES = sorted({*FAMILIES, *KIN})
A, B, C = zoo.photos()
MORE = " and what is to be seen at its left side?"


@pytest.fixture(params=NAMES)
def tiny(request: pytest.FixtureRequest) -> zoo.Tiny:
    return zoo.build(request.param)


def turns(tiny: zoo.Tiny) -> list[tuple[list[Any], str]]:
    """A conversation: it grows, is swapped an image, branches, and goes on by text alone."""
    one, most = tiny.prompt(1), min(2, tiny.max_images)
    if _name(tiny) == "florence2":  # a task, and nothing with it
        return [([A], one), ([B], one), ([A], one)]
    grown = [([A, B][:most], tiny.prompt(most)), ([A, C][:most], tiny.prompt(most)), ([C], one)]
    return [
        ([A], one),
        ([A], one + MORE),
        *grown,
        ([A], one + MORE + MORE),
        ([A], one + " or not?"),
        ([A], one),
    ]


def each(tiny: zoo.Tiny, ask: Callable[[list[Any], str], list[Any]]) -> list[list[Any]]:
    """Ask every turn of the conversation; one that comes again has the answer that it had."""
    found: dict[Any, list[Any]] = {}
    keys = [(*map(id, images), prompt) for images, prompt in turns(tiny)]
    for key, turn in zip(keys, turns(tiny), strict=True):
        if key not in found:
            found[key] = ask(*turn)
    return [found[key] for key in keys]


def asked(tiny: zoo.Tiny, images: Sequence[Any], prompt: str, **options: Any) -> list[Any]:
    """Everything that a question comes to: tokens, their logits, what the caches hold in the end."""
    inputs = prepared(tiny, images, prompt)
    ids, pixels = inputs.pop("input_ids"), inputs.pop("pixel_values", None)
    mask = inputs.pop("attention_mask", None)
    caches = make_prompt_cache(tiny.model.language_model)
    steps = dispatch.generate_step(
        ids, tiny.model, pixels, mask, max_tokens=3, temperature=0.0, prompt_cache=caches, **inputs, **options
    )
    found: list[Any] = [(int(token), logits) for token, logits in steps]
    found.append([cache.state for cache in caches])
    mx.eval(found)
    return found


def kept(tiny: zoo.Tiny, **options: Any) -> Prefixes:
    return Prefixes(VisionFeatureCache(None, "1 GiB"), tiny.model, shortest=2, **options)


def chunked(tiny: zoo.Tiny) -> None:
    """Skip what mlx-vlm can't prefill in stretches here."""
    answers(tiny)
    if not tiny.chunked:
        assert _name(tiny) in {*NO_PREFIX, *UNPROVEN}, "say in left_out.py why no prefix of it is kept"
        pytest.skip("mlx-vlm names an argument that this model does not have")


def reason(tiny: zoo.Tiny) -> str:
    """Say what the table says of why there is no prefix of a family."""
    return NO_PREFIX.get(_name(tiny), "")


def _name(tiny: zoo.Tiny) -> str:
    return type(tiny.model).__module__.split(".")[-2]


def test_a_warm_turn_is_the_cold_turn_that_would_have_been(tiny: zoo.Tiny) -> None:
    chunked(tiny)

    def cold(images: list[Any], prompt: str) -> list[Any]:
        with attach(tiny.model, tiny.processor, VisionFeatureCache(), prefixes=kept(tiny)):
            return asked(tiny, images, prompt)

    expected = each(tiny, cold)
    prefixes = kept(tiny)
    with attach(tiny.model, tiny.processor, VisionFeatureCache(), prefixes=prefixes):
        for (images, prompt), answer in zip(turns(tiny), expected, strict=True):
            assert same(asked(tiny, images, prompt), answer)
            assert prefixes.refused == reason(tiny)
    assert bool(prefixes.totals().reused) == (not reason(tiny))


def test_with_mlx_vlms_own_pauses_it_is_what_it_is_without_prefixes(tiny: zoo.Tiny) -> None:
    chunked(tiny)
    step = {"prefill_step_size": 8}
    plain = each(tiny, lambda images, prompt: asked(tiny, images, prompt, **step))
    prefixes = kept(tiny, pauses="steps")
    with attach(tiny.model, tiny.processor, VisionFeatureCache(), prefixes=prefixes):
        for (images, prompt), expected in zip(turns(tiny), plain, strict=True):
            assert same(asked(tiny, images, prompt, **step), expected)
            assert prefixes.refused == NO_STEPS.get(_name(tiny), reason(tiny))
    assert bool(prefixes.totals().reused) == (not prefixes.refused)


def test_pauses_by_content_change_no_more_than_last_bits(tiny: zoo.Tiny) -> None:
    chunked(tiny)
    for images, prompt in turns(tiny)[:3]:
        plain = asked(tiny, images, prompt)
        with attach(tiny.model, tiny.processor, VisionFeatureCache(), prefixes=kept(tiny)):
            paused = asked(tiny, images, prompt)
        for (token, logits), (expected, their) in zip(paused[:-1], plain[:-1], strict=True):
            assert token == expected
            assert mx.abs(logits - their).max().item() < 1e-3 * mx.abs(their).max().item()
