"""Prefixes of one family, through mlx-vlm's own doors: what is shared, kept, evicted, bypassed and counted."""

from __future__ import annotations

import gc
import threading
from contextlib import closing, nullcontext
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import mlx_vlm
import pytest
import zoo
from harness import prepared, same
from interrupts import struck
from mlx_vlm.generate import PromptCacheState, dispatch
from mlx_vlm.models.cache import make_prompt_cache
from mlx_vlm.prompt_utils import apply_chat_template

from visioncache import VisionFeatureCache
from visioncache.sizes import leaves
from visioncache.study.benchmark.demo import load_model
from visioncache.study.data import data_path
from visioncache.vlm import Chat, attach
from visioncache.vlm.prefixes import Prefixes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PHOTO = str(next(data_path("images").glob("*.jpg")))
A, B, C = zoo.photos()
PAD = "<|vision_start|><|image_pad|><|vision_end|>"


@pytest.fixture(scope="module")
def demo() -> tuple[Any, Any]:
    return load_model()


@pytest.fixture(scope="module")
def tiny() -> zoo.Tiny:
    return zoo.build("qwen2_5_vl")


def conversation(*turns: str) -> str:
    """A prompt as chat templates write it: each turn ends with a token of its own, then one opens."""
    return spoken(*turns) + "A:"


def spoken(*turns: str) -> str:
    return "".join(f"{turn}<eos>" for turn in turns)


def templated(demo: tuple[Any, Any], question: str) -> str:
    return apply_chat_template(demo[1], demo[0].config, question, num_images=1)


def kept(tiny: zoo.Tiny, cache: VisionFeatureCache | None = None, **options: Any) -> Prefixes:
    own = VisionFeatureCache(None, "1 GiB") if cache is None else cache
    return Prefixes(own, tiny.model, **{"shortest": 2, **options})


def asked(tiny: zoo.Tiny, images: list[Any], prompt: str, **options: Any) -> list[Any]:
    inputs = {**prepared(tiny, images, prompt), **options.pop("inputs", {})}
    ids, pixels = inputs.pop("input_ids"), inputs.pop("pixel_values", None)
    mask = inputs.pop("attention_mask", None)
    options = {"max_tokens": 3, "temperature": 0.0, **options}
    steps = dispatch.generate_step(ids, tiny.model, pixels, mask, **inputs, **options)
    return [(int(token), logits) for token, logits in steps]


def reused(tiny: zoo.Tiny, prefixes: Prefixes, images: list[Any], prompt: str, **options: Any) -> int:
    before = prefixes.totals()
    with attach(tiny.model, tiny.processor, VisionFeatureCache(), prefixes=prefixes):
        asked(tiny, images, prompt, **options)
    return prefixes.totals().since(before).reused


def tokens_of(tiny: zoo.Tiny, images: list[Any], prompt: str) -> int:
    return int(prepared(tiny, images, prompt)["input_ids"].size)


def test_unmodified_calls_of_mlx_vlm_gain(demo: tuple[Any, Any]) -> None:
    prompt = templated(demo, "What is it?")
    options = {"max_tokens": 8, "temperature": 0.0}
    plain = mlx_vlm.generate(*demo, prompt, image=[PHOTO], **options)
    with attach(*demo, VisionFeatureCache(), prefixes="1 GiB") as attached:
        for reused in (False, True):
            first = mlx_vlm.generate(*demo, prompt, image=[PHOTO], **options)
            assert (attached.prefixes.totals().reused > 0) == reused
        *_, again = mlx_vlm.stream_generate(*demo, prompt, image=[PHOTO], **options)
    assert first.token_ids == again.token_ids == plain.token_ids
    assert first.prompt_tokens == again.prompt_tokens == plain.prompt_tokens


def test_a_chat_says_how_many_tokens_it_did_not_prefill(demo: tuple[Any, Any]) -> None:
    cache = VisionFeatureCache()
    with attach(*demo, cache, prefixes="1 GiB"):
        chat = Chat(*demo, cache, max_tokens=4)
        assert chat.ask("What is it?", [PHOTO]).reused_tokens == 0
        assert chat.ask("Where is it?").reused_tokens > 0


def test_an_album_that_grows_is_prefilled_only_where_it_grew(tiny: zoo.Tiny) -> None:
    prefixes = kept(tiny)
    one = conversation(f"{PAD}What is it?")
    two = conversation(f"{PAD}What is it?", "A cat.", f"{PAD}And this?")
    assert reused(tiny, prefixes, [A], one) == 0
    assert reused(tiny, prefixes, [A, B], two) == tokens_of(tiny, [A], spoken(f"{PAD}What is it?"))


def test_an_image_that_is_replaced_leaves_what_is_before_it(tiny: zoo.Tiny) -> None:
    prefixes = kept(tiny)
    before = spoken(f"{PAD}What is it?")
    prompt = conversation(f"{PAD}What is it?", f"{PAD}And this?")
    reused(tiny, prefixes, [A, B], prompt)
    until_image = tokens_of(tiny, [A], before)
    assert reused(tiny, prefixes, [A, C], prompt) == until_image
    assert reused(tiny, prefixes, [C, B], prompt) == 0
    assert reused(tiny, prefixes, [B, A], prompt) == 0
    assert reused(tiny, prefixes, [A, B], prompt) > until_image


def test_branches_share_what_they_share_and_nothing_is_stored_twice(tiny: zoo.Tiny) -> None:
    prefixes = kept(tiny)
    trunk = spoken(f"{PAD}What is it?", "A cat on a mat.")
    reused(tiny, prefixes, [A], trunk + conversation("Which colour?"))
    held = prefixes.totals().kept
    more = reused(tiny, prefixes, [A], trunk + conversation("How old?"))
    assert more == tokens_of(tiny, [A], trunk)
    assert prefixes.totals().kept == held + len("How old?") + 1


@pytest.fixture
def exactly() -> Iterator[Callable[[], int]]:
    """Count the bytes that are alive; no buffer is larger than what lies in it."""
    limit = mx.set_cache_limit(0)
    gc.collect()
    gc.freeze()  # what was there before the test, so that its many collections don't look at that

    def alive() -> int:
        gc.collect()
        return mx.get_active_memory()

    yield alive
    mx.set_cache_limit(limit)


def test_a_branch_reuses_what_mlx_vlms_prompt_cache_can_not(demo: tuple[Any, Any]) -> None:
    """A state goes on with one conversation; a segment with all that begin alike."""

    def branched(**options: Any) -> list[Any]:
        cache = VisionFeatureCache()
        with attach(*demo, cache, prefixes=None if options else "1 GiB"):
            chat = Chat(*demo, cache, max_tokens=4, **options)
            chat.ask("What is it?", [PHOTO])
            return [chat.branch().ask(question) for question in ("Is it an animal?", "How many are there?")]

    states, segments = branched(prompt_cache=True), branched()
    assert [turn.reused_tokens for turn in states] == [0, 0]
    assert all(turn.reused_tokens > turn.prompt_tokens // 3 for turn in segments)
    assert [turn.tokens for turn in segments] == [turn.tokens for turn in states]


def test_a_conversation_of_thirty_turns_stores_each_token_once(
    tiny: zoo.Tiny, exactly: Callable[[], int]
) -> None:
    prefixes, turns = kept(tiny), [f"{PAD}What is it?"]
    for number in range(30):
        reused(tiny, prefixes, [A], conversation(*turns))
        turns += [f"Answer {number}.", f"Question {number}?"]
    whole = tokens_of(tiny, [A], spoken(*turns[:-2]))
    assert prefixes.totals().kept == whole
    layers = len(tiny.model.language_model.layers)
    text = tiny.model.config.text_config
    row = 2 * layers * text.num_key_value_heads * (text.hidden_size // text.num_attention_heads) * 4
    assert prefixes.cache.nbytes == row * whole
    before = exactly()
    prefixes.cache.clear()
    assert before - exactly() == pytest.approx(row * whole, rel=0.02)


@pytest.mark.parametrize("family", ["qwen2_5_vl", "gemma4", "lfm2_vl", "qwen3_5"])
@pytest.mark.parametrize("stored", [False, True])
def test_accounted_bytes_are_held_bytes(
    family: str, stored: bool, exactly: Callable[[], int], tmp_path: Path
) -> None:
    """Rows cut out of larger buffers, a window's, a state that the model itself cut: each is a copy."""
    tiny = zoo.build(family)
    marker = tiny.prompt(1).replace("What differs?", "")
    turns = [f"{marker}What is it?", "A cat.", "word " * 30, "Yes.", "And then?", "No."]
    with closing(VisionFeatureCache(None, store=tmp_path if stored else None)) as cache:
        prefixes = kept(tiny, cache)
        for many in (1, 3, 5, 6):
            reused(tiny, prefixes, [A], conversation(*turns[:many]))
        if stored:
            assert cache.flush(10)
            found = [entry.key for entry in cache.entries()]
            cache.trim(1 << 30)
            assert all(cache.get(key) is not None for key in found)
        assert len(cache) > 1
        assert_freed_as_accounted(cache, exactly)


def test_accounted_bytes_are_held_bytes_where_they_are_quantised(
    demo: tuple[Any, Any], exactly: Callable[[], int]
) -> None:
    cache = VisionFeatureCache(None)
    options = {"kv_bits": 8, "kv_group_size": 32, "quantized_kv_start": 8, "max_tokens": 1}
    with attach(*demo, VisionFeatureCache(), prefixes=Prefixes(cache, demo[0])):
        mlx_vlm.generate(*demo, templated(demo, "What is it?"), image=[PHOTO], **options)
    assert cache.nbytes > 0
    assert_freed_as_accounted(cache, exactly)


def assert_freed_as_accounted(cache: VisionFeatureCache, alive: Callable[[], int]) -> None:
    alive()  # which frees what earlier requests left
    before = alive()
    while cache.keys():
        accounted = cache.nbytes
        cache.trim(1)
        after = alive()
        assert before - after == pytest.approx(accounted - cache.nbytes, rel=0.02)
        before = after


def test_a_parent_outlives_its_children(tiny: zoo.Tiny) -> None:
    prefixes = kept(tiny, VisionFeatureCache(None))
    prompt = conversation(f"{PAD}What is it?", "A cat.", "Which colour?", "Black.", "How old?")
    reused(tiny, prefixes, [A], prompt)
    while prefixes.cache.entries():
        chain = sorted(entry.meta["begin"] for entry in prefixes.cache.entries())
        assert chain[0] == 0
        ends = [e.meta["begin"] + e.meta["tokens"] for e in prefixes.cache.entries()]
        assert set(chain[1:]) <= set(ends), "a segment is left that nothing leads to"
        prefixes.cache.trim(1)


def test_what_does_not_fit_evicts_nothing_of_its_own_prompt(tiny: zoo.Tiny) -> None:
    prompt = conversation(f"{PAD}What is it?", "A cat.", "Which colour?", "Black.", "How old?")
    roomy = kept(tiny)
    reused(tiny, roomy, [A], prompt)
    prefixes = kept(tiny, VisionFeatureCache(None, roomy.cache.nbytes // 2))
    reused(tiny, prefixes, [A], prompt)
    first = reused(tiny, prefixes, [A], prompt)
    assert first > 0
    assert reused(tiny, prefixes, [A], prompt) == first


def test_what_does_not_fit_changes_no_call_of_the_language_model(
    tiny: zoo.Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call of another length has other last bits, with some libraries of linear algebra."""
    lengths: list[int] = []
    kind = type(tiny.model.language_model)
    original = kind.__call__

    def counted(self: Any, inputs: mx.array, *args: Any, **named: Any) -> Any:
        lengths.append(inputs.shape[1])
        return original(self, inputs, *args, **named)

    monkeypatch.setattr(kind, "__call__", counted)
    prompt = conversation(f"{PAD}What is it?", "A cat.", "Which colour?", "Black.", "How old?")
    roomy = kept(tiny)
    reused(tiny, roomy, [A], prompt)
    expected, lengths = lengths, []
    small = kept(tiny, VisionFeatureCache(None, roomy.cache.nbytes // 2))
    reused(tiny, small, [A], prompt)
    assert small.totals().kept < roomy.totals().kept
    assert lengths == expected


def test_one_cache_may_hold_features_and_prefixes(tiny: zoo.Tiny) -> None:
    cache = VisionFeatureCache(None, "1 GiB")
    prompt = conversation(f"{PAD}What is it?")
    with attach(tiny.model, tiny.processor, cache, prefixes=cache) as attached:
        attached.prefixes.shortest = 2
        asked(tiny, [A], prompt)
        asked(tiny, [A], prompt)
        assert attached.prefixes.totals().reused > 0
    kinds = [(entry.meta or {}).get("kind") for entry in cache.entries()]
    assert kinds.count("prefix") >= 2
    assert None in kinds
    shown = [entry for entry in cache.entries() if (entry.meta or {}).get("kind") == "prefix"]
    features = [entry.key.text for entry in cache.entries() if entry not in shown]
    assert any(entry.meta["images"] == features for entry in shown)


def test_a_restarted_kernel_finds_prefixes_on_disk(tiny: zoo.Tiny, tmp_path: Path) -> None:
    prompt = conversation(f"{PAD}What is it?", "A cat.", "Which colour?")
    with closing(VisionFeatureCache(None, store=tmp_path)) as cache:
        prefixes = kept(tiny, cache)
        with attach(tiny.model, tiny.processor, VisionFeatureCache(), prefixes=prefixes):
            cold = asked(tiny, [A], prompt)
        assert cache.flush(10)
    again = zoo.build("qwen2_5_vl")
    with closing(VisionFeatureCache(None, store=tmp_path)) as cache:
        prefixes = kept(again, cache)
        with attach(again.model, again.processor, VisionFeatureCache(), prefixes=prefixes):
            warm = asked(again, [A], prompt)
        assert prefixes.totals().reused > 0
    assert same(warm, cold)


def test_other_weights_of_the_language_model_are_another_scope(tiny: zoo.Tiny) -> None:
    other = zoo.build("qwen2_5_vl")
    prefixes = kept(other)
    prompt = conversation(f"{PAD}What is it?")
    reused(other, prefixes, [A], prompt)
    assert reused(other, prefixes, [A], prompt) > 0
    layer = other.model.language_model.model.layers[0].self_attn.q_proj
    layer.weight = layer.weight + 0.01
    assert reused(other, prefixes, [A], prompt) == 0
    assert reused(other, prefixes, [A], prompt) > 0


def test_quantised_keys_and_values_are_kept_apart_and_exact(demo: tuple[Any, Any]) -> None:
    prompt = templated(demo, "What is it, and what else is there to be seen?")
    prefixes = Prefixes(VisionFeatureCache(None), demo[0])

    def answered(kept: Prefixes, **options: Any) -> tuple[list[Any], int]:
        before = kept.totals()
        with attach(*demo, VisionFeatureCache(), prefixes=kept):
            results = mlx_vlm.stream_generate(
                *demo, prompt, image=[PHOTO], max_tokens=4, temperature=0.0, **options
            )
            return [(r.token, r.logprobs) for r in results], kept.totals().since(before).reused

    for options in ({}, {"kv_bits": 8, "kv_group_size": 32, "quantized_kv_start": 8}):
        cold, _ = answered(Prefixes(VisionFeatureCache(None), demo[0]), **options)
        first, none = answered(prefixes, **options)
        again, some = answered(prefixes, **options)
        assert same(first, cold)
        assert same(again, cold)
        assert (none, some > 0) == (0, True)


def test_a_prompt_cache_that_holds_something_wins(demo: tuple[Any, Any]) -> None:
    state = PromptCacheState()
    options = {"max_tokens": 3, "temperature": 0.0, "prompt_cache_state": state}
    first = templated(demo, "What is it?")
    with attach(*demo, VisionFeatureCache(), prefixes="1 GiB") as attached:
        list(mlx_vlm.stream_generate(*demo, first, image=[PHOTO], **options))
        *_, last = mlx_vlm.stream_generate(*demo, first + " It is", image=[PHOTO], **options)
        assert last.cached_tokens > 0
        assert attached.prefixes.refused == "a prompt cache is given that holds something"


def test_what_an_earlier_prompt_left_noted_in_the_model_hides_nothing(tiny: zoo.Tiny) -> None:
    """mlx-vlm's prompt cache leaves positions there, of a prompt that may be as long by chance."""
    prefixes, prompt = kept(tiny), conversation(f"{PAD}What is it?", "A cat.")
    reused(tiny, prefixes, [A], prompt)
    first = reused(tiny, prefixes, [A], prompt)
    tiny.model.language_model._position_ids = mx.zeros((3, 1, tokens_of(tiny, [A], prompt)), mx.int32)
    try:
        assert reused(tiny, prefixes, [A], prompt) == first > 0
    finally:
        tiny.model.language_model._position_ids = None


def test_a_model_that_trains_or_is_bypassed_keeps_nothing(tiny: zoo.Tiny) -> None:
    prefixes, prompt = kept(tiny), conversation(f"{PAD}What is it?")
    with attach(tiny.model, tiny.processor, VisionFeatureCache(), prefixes=prefixes) as attached:
        with attached.bypass():
            asked(tiny, [A], prompt)
        tiny.model.train()
        try:
            asked(tiny, [A], prompt)
        finally:
            tiny.model.eval()
    assert prefixes.totals().prompts == 0
    assert len(prefixes.cache) == 0


def test_an_interrupt_in_the_middle_leaves_only_whole_segments(tiny: zoo.Tiny) -> None:
    prefixes, prompt = kept(tiny), conversation(f"{PAD}What is it?", "A cat.", "Which colour?")
    with attach(tiny.model, tiny.processor, VisionFeatureCache(), prefixes=kept(tiny)):
        cold = asked(tiny, [A], prompt)
    calls = []

    def strike(event: Any) -> None:
        if event.kind == "put":
            calls.append(event)
            if len(calls) == 2:
                raise KeyboardInterrupt

    stop = prefixes.cache.subscribe(strike)
    with attach(tiny.model, tiny.processor, VisionFeatureCache(), prefixes=prefixes):
        with pytest.raises(KeyboardInterrupt):
            asked(tiny, [A], prompt)
        stop()
        assert not any(entry.pinned for entry in prefixes.cache.entries())
        assert same(asked(tiny, [A], prompt), cold)
        assert prefixes.totals().reused > 0


def test_two_threads_that_ask_at_once_prefill_once_and_get_the_same() -> None:
    tiny = zoo.build("llava")  # which notes nothing in the model while it generates, as others do
    prefixes, prompt = kept(tiny), tiny.prompt(1) + "<eos>A:"
    with attach(tiny.model, tiny.processor, VisionFeatureCache(), prefixes=kept(tiny)):
        cold = asked(tiny, [A], prompt)
    answers: list[Any] = []
    lock = threading.Barrier(2)

    def ask() -> None:
        lock.wait()
        answers.append(asked(tiny, [A], prompt))

    with attach(tiny.model, tiny.processor, VisionFeatureCache(), prefixes=prefixes):
        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [[token for token, _ in answer] for answer in answers] == [[token for token, _ in cold]] * 2
    assert prefixes.totals().kept == sum(entry.meta["tokens"] for entry in prefixes.cache.entries())


def test_several_prompts_at_once_are_left_alone(demo: tuple[Any, Any]) -> None:
    prefixes = Prefixes(VisionFeatureCache(None), demo[0])
    options = {"images": [PHOTO, PHOTO], "prompts": ["What is it?", "Where is it?"], "max_tokens": 4}
    plain = mlx_vlm.batch_generate(*demo, **options)
    with attach(*demo, VisionFeatureCache(), prefixes=prefixes):
        assert mlx_vlm.batch_generate(*demo, **options).texts == plain.texts
    assert prefixes.totals().prompts == 0


def test_a_stored_segment_of_another_shape_is_dropped_and_computed_again(tiny: zoo.Tiny) -> None:
    prefixes, prompt = kept(tiny), conversation(f"{PAD}What is it?")
    reused(tiny, prefixes, [A], prompt)
    first = next(entry for entry in prefixes.cache.entries() if entry.meta["begin"] == 0)
    value = prefixes.cache.peek(first.key)
    prefixes.cache.put(first.key, [next(leaves(value))[:, :, :, :-1]], meta=dict(first.meta))
    behind = reused(tiny, prefixes, [A], prompt)
    assert reused(tiny, prefixes, [A], prompt) == behind + first.meta["tokens"]


def test_the_caches_are_what_mlx_vlm_makes(tiny: zoo.Tiny) -> None:
    prefixes, prompt = kept(tiny), conversation(f"{PAD}What is it?", "A cat.")
    reused(tiny, prefixes, [A], prompt)
    caches = make_prompt_cache(tiny.model.language_model)
    reused(tiny, prefixes, [A], prompt, prompt_cache=caches)
    assert all(cache.offset == tokens_of(tiny, [A], prompt) + 3 for cache in caches)


def test_prefixes_of_one_model_are_none_of_another_s(tiny: zoo.Tiny) -> None:
    other, prompt = zoo.build("qwen2_5_vl", seed=1), "What is there to be seen at all in such a place?" * 3
    options = {"prefill_step_size": 8}
    plain = asked(other, [], prompt, **options)
    prefixes = kept(tiny, pauses="steps")
    reused(tiny, prefixes, [], prompt, **options)
    assert reused(tiny, prefixes, [], prompt, **options) > 0
    with attach(other.model, other.processor, VisionFeatureCache(), prefixes=prefixes) as attached:
        for _ in range(2):
            assert same(asked(other, [], prompt, **options), plain)
        assert attached.prefixes.cache is prefixes.cache
        assert attached.prefixes.totals().reused > 0


@pytest.mark.parametrize("aside", ["detach", "suspended", "bypass"])
def test_a_generation_that_begins_after_the_model_was_detached_is_refused(tiny: zoo.Tiny, aside: str) -> None:
    plain = asked(tiny, [A], PAD)
    with attach(tiny.model, tiny.processor, VisionFeatureCache(), prefixes=kept(tiny)) as attached:
        asked(tiny, [A], PAD)
        inputs = prepared(tiny, [A], PAD)
        ids, pixels = inputs.pop("input_ids"), inputs.pop("pixel_values")
        steps = dispatch.generate_step(
            ids, tiny.model, pixels, inputs.pop("attention_mask"), **inputs, max_tokens=3, temperature=0.0
        )
        if aside == "bypass":
            with attached.bypass():
                assert same([(int(token), logits) for token, logits in steps], plain)
            return
        with (
            nullcontext(attached.detach()) if aside == "detach" else attached.suspended(),
            pytest.raises(ValueError, match="these pixels are stand-ins"),
        ):
            next(steps)


@pytest.mark.parametrize("family", ["qwen2_5_vl", "llava", "gemma3", "lfm2_vl", "qwen3_5"])
@pytest.mark.parametrize("start", [0, 12])
@pytest.mark.parametrize(
    "quantised",
    [{"kv_bits": 3.5}, {"kv_bits": 8, "kv_quant_scheme": "turboquant"}],
    ids=["3.5 bits", "turbo"],
)
def test_caches_that_are_quantised_so_that_they_can_not_be_cut_are_left_alone(
    family: str, start: int, quantised: dict[str, Any]
) -> None:
    tiny = zoo.build(family)
    prompt = tiny.prompt(1) + " and what else is there to be seen at all?" * 3
    options = {**quantised, "quantized_kv_start": start, "prefill_step_size": 8}
    plain = asked(tiny, [A], prompt, **options)
    prefixes = Prefixes(VisionFeatureCache(None, "1 GiB"), tiny.model, pauses="steps")
    with attach(tiny.model, tiny.processor, VisionFeatureCache(), prefixes=prefixes):
        for _ in range(3):
            assert same(asked(tiny, [A], prompt, **options), plain)
    assert "can't be cut" in prefixes.refused


def test_an_interrupt_as_segments_are_released_leaves_none_held(tiny: zoo.Tiny) -> None:
    prefixes = kept(tiny)
    prompt = conversation(f"{PAD}What is it?", "A cat.")
    with attach(tiny.model, tiny.processor, VisionFeatureCache(), prefixes=prefixes):
        with pytest.raises(KeyboardInterrupt):
            struck(Prefixes.release, lambda: asked(tiny, [A], prompt))
        held = [prefixes.cache.entry(key) for key in prefixes.cache.keys()]
        assert held
        assert not any(entry.pinned for entry in held)


def own_positions(length: int, kind: str) -> dict[str, Any]:
    rows = mx.arange(length) * 3
    if kind == "deltas":
        return {"rope_deltas": mx.array([[9]])}
    return {"position_ids": mx.broadcast_to(rows, (3, 1, length) if kind == "three rows" else (1, length))}


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_5", "qwen3_omni_moe"])
@pytest.mark.parametrize("kind", ["one row", "three rows", "deltas"])
@pytest.mark.parametrize("pauses", ["content", "steps"])
def test_a_caller_s_own_positions_decide_keys_and_values(family: str, kind: str, pauses: str) -> None:
    tiny = zoo.build(family)
    prompt = tiny.prompt(1) + " and what else is there to be seen in such a place?" * 2
    own = {"inputs": own_positions(tokens_of(tiny, [A], prompt), kind), "prefill_step_size": 16}
    usual: dict[str, Any] = {"prefill_step_size": 16}

    def answers(*calls: dict[str, Any]) -> list[Any]:
        prefixes = kept(tiny, pauses=pauses)
        with attach(tiny.model, tiny.processor, VisionFeatureCache(), prefixes=prefixes):
            return [asked(tiny, [A], prompt, **call) for call in calls]

    cold, cold_own = answers(usual)[0], answers(own)[0]
    if pauses == "steps":
        assert same([cold, cold_own], [asked(tiny, [A], prompt, **call) for call in (usual, own)])
    assert same(answers(usual, own, usual), [cold, cold_own, cold])
    assert same(answers(own, usual, own), [cold_own, cold, cold_own])


@pytest.mark.parametrize("family", ["glm4v", "glm4v_moe", "paddleocr_vl", "qwen2_5_vl", "llava"])
@pytest.mark.parametrize("pauses", ["content", "steps"])
@pytest.mark.parametrize("padded", [1, 3])
def test_a_padded_prompt_is_answered_as_without_prefixes(family: str, pauses: str, padded: int) -> None:
    tiny = zoo.build(family)
    prompt = tiny.prompt(1) + " and what else?"
    length = tokens_of(tiny, [A], prompt)
    mask = {"inputs": {"attention_mask": mx.array([[0] * padded + [1] * (length - padded)])}}
    plain = asked(tiny, [A], prompt, **mask)
    prefixes = kept(tiny, pauses=pauses, shortest=32)
    with attach(tiny.model, tiny.processor, VisionFeatureCache(), prefixes=prefixes):
        for _ in range(2):
            assert [token for token, _ in asked(tiny, [A], prompt, **mask)] == [token for token, _ in plain]
