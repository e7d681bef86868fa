"""Every family of the table, over its tiny model: per image, exact, nothing done twice."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import zoo
from harness import answers, embedded, greedy, prepared, same
from mlx.utils import tree_map

from visioncache import VisionFeatureCache
from visioncache.sizes import leaves
from visioncache.vlm import FAMILIES, attach
from visioncache.vlm.families.table import KIN
from visioncache.vlm.patching.instances import is_patched
from visioncache.vlm.request.image import SourceImage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAMES = sorted({*FAMILIES, *KIN})
A, B, C = zoo.photos()


@pytest.fixture(params=NAMES)
def tiny(request: pytest.FixtureRequest) -> zoo.Tiny:
    return zoo.build(request.param)


@contextmanager
def attached(tiny: zoo.Tiny) -> Iterator[tuple[VisionFeatureCache, Any]]:
    cache = VisionFeatureCache()
    with attach(tiny.model, tiny.processor, cache) as attachment:
        yield cache, attachment


def shown(tiny: zoo.Tiny) -> list[Any]:
    return [A, B, C][: tiny.max_images]


def seen(tiny: zoo.Tiny, images: list[Any]) -> Any:
    """Return what the language model sees of images: among its tokens, or beside them."""
    given = embedded(tiny, prepared(tiny, images))
    return given.get("cross_attention_states", given["inputs_embeds"])


def test_every_family_of_the_table_has_a_tiny_model() -> None:
    assert set(NAMES) <= set(zoo.families())


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_a_family_without_a_processor_says_so(name: str) -> None:
    if zoo.build(name).processor is None:
        assert FAMILIES[name].preprocessor == "", (
            'mlx-vlm has no processor for it: preprocessor="" in the row'
        )


@pytest.mark.parametrize("name", NAMES)
def test_what_is_said_to_be_proven_is_what_can_be_run_everywhere(name: str) -> None:
    tiny = zoo.build(name)
    family = FAMILIES.get(name) or KIN[name]
    assert family.proven == (("embeddings",) if tiny.metal else ("embeddings", "tokens"))


def test_a_hit_gives_the_language_model_the_very_bits_of_the_miss(
    tiny: zoo.Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = shown(tiny)
    with attached(tiny) as (cache, attachment):
        miss = embedded(tiny, prepared(tiny, images))
        before = attachment.stages.totals()
        monkeypatch.setattr(SourceImage, "load", _touched)
        hit = embedded(tiny, prepared(tiny, images))
        work = attachment.stages.totals().since(before).counts
    assert same(miss, hit)
    entries = 1 if attachment.family.granularity == "request" else len(images) * tiny.tiles
    assert (cache.info().misses, cache.info().hits) == (entries, entries)
    assert (work["decode"], work["preprocess"], work["tower"]) == (0, 0, 0)


def _touched(image: SourceImage) -> None:
    raise AssertionError(f"{image.label} was decoded, although it is known")


def test_greedy_tokens_are_those_without_a_cache(tiny: zoo.Tiny) -> None:
    images = shown(tiny)
    plain = greedy(tiny, images)
    with attached(tiny):
        assert greedy(tiny, images) == plain
        assert greedy(tiny, images) == plain
    assert greedy(tiny, images) == plain


def test_each_image_is_encoded_once_whatever_it_stands_beside(tiny: zoo.Tiny) -> None:
    requests = [[A], [B], [A]] if tiny.max_images == 1 else [[A], [A, B], [B, A], [A, B, A], [B]]
    requests = [request[: tiny.max_images] for request in requests]
    plain = [seen(tiny, request) for request in requests]
    with attached(tiny) as (cache, attachment):
        ours = [seen(tiny, request) for request in requests]
        # Of [A], [A, B], [B, A], [A, B, A], [B], each is another request; of A and B, two images.
        together = attachment.family.granularity == "request"
        alone = {(id(image), tiny.as_one_of(len(request))) for request in requests for image in request}
        entries = len({tuple(map(id, request)) for request in requests} if together else alone) * tiny.tiles
        assert attachment.stages.totals().counts["tower"] == entries, (
            "a family that is not proven is compared, which takes an encode more: tools/prove_versions.py first"
        )
        assert len(cache) == entries
    for one, other in zip(plain, ours, strict=True):
        assert one.shape == other.shape
        # One image alone or in a batch: the same sums in another order.
        assert abs(one - other).max().item() <= 1e-4 * abs(one).max().item()


def test_images_of_other_shapes_beside_each_other_are_seen_as_without_a_cache(tiny: zoo.Tiny) -> None:
    """Cut into other numbers of tiles, or scaled to other sizes, in every order."""
    square, wide, tall = (A.resize(size) for size in ((64, 64), (160, 40), (40, 160)))
    large = C.resize((200, 200))
    plain = []
    for pair in ([square, wide], [wide, square], [tall, large], [large, wide]):
        try:
            plain.append((pair, seen(tiny, pair)))
        except Exception:  # noqa: BLE001, S112  # what mlx-vlm itself does not take
            continue
    assert plain or tiny.max_images == 1
    for pair, expected in plain:
        with attached(tiny) as (_, attachment):
            miss, hit = seen(tiny, pair), seen(tiny, pair)
            assert attachment.stages.totals().counts["tower"] > 0
        assert same(miss, hit)
        assert miss.shape == expected.shape
        assert abs(miss - expected).max().item() <= 1e-4 * abs(expected).max().item()


def test_order_counts(tiny: zoo.Tiny) -> None:
    if tiny.max_images == 1:
        pytest.skip("one image a prompt is all that this family takes")
    with attached(tiny):
        one = embedded(tiny, prepared(tiny, [A, B]))
        other = embedded(tiny, prepared(tiny, [B, A]))
    assert not same(one, other)


def test_a_prompt_without_images_is_left_alone(tiny: zoo.Tiny) -> None:
    if tiny.without:
        with attached(tiny), pytest.raises(ValueError, match=tiny.without):
            greedy(tiny, [])
        return
    plain = greedy(tiny, [])
    with attached(tiny) as (cache, _):
        assert greedy(tiny, []) == plain
        assert cache.info().hits == cache.info().misses == 0


def test_chunked_prefill_answers_as_without_a_cache(tiny: zoo.Tiny) -> None:
    images = shown(tiny)
    if not tiny.chunked:
        with pytest.raises(TypeError, match="input_ids"):  # mlx-vlm's own, with a cache or without
            greedy(tiny, images, prefill_step_size=5)
        with attached(tiny), pytest.raises(TypeError, match="input_ids"):
            greedy(tiny, images, prefill_step_size=5)
        return
    plain = greedy(tiny, images, prefill_step_size=5)
    with attached(tiny):
        assert greedy(tiny, images, prefill_step_size=5) == plain
        assert greedy(tiny, images, prefill_step_size=5) == plain


def test_the_model_itself_answers_as_without_a_cache(tiny: zoo.Tiny) -> None:
    images = shown(tiny)
    plain = called(tiny, images)
    with attached(tiny) as (cache, _):
        miss, hit = called(tiny, images), called(tiny, images)
        assert cache.info().hits == cache.info().misses
    assert same(miss, hit)
    assert abs(plain - miss).max().item() <= 1e-3 * abs(plain).max().item()


def called(tiny: zoo.Tiny, images: list[Any]) -> Any:
    """The logits of a call of the model."""
    answers(tiny)
    inputs = prepared(tiny, images)
    ids, pixels = inputs.pop("input_ids"), inputs.pop("pixel_values")
    mask = inputs.pop("attention_mask", None)
    output = tiny.model(ids, pixel_values=pixels, mask=mask, **inputs)
    return output.logits if hasattr(output, "logits") else output


def test_prepared_pixels_are_cached_without_a_processor(tiny: zoo.Tiny) -> None:
    inputs = prepared(tiny, shown(tiny))
    cache = VisionFeatureCache(200)  # without the processor a tile may be an image of its own
    with attach(tiny.model, None, cache) as attachment:
        miss = embedded(tiny, dict(inputs))
        encoded = attachment.stages.totals().counts["tower"]
        hit = embedded(tiny, dict(inputs))
        assert encoded > 0
        assert attachment.stages.totals().counts["tower"] == encoded
    assert same(miss, hit)


def test_what_is_held_is_what_the_language_model_is_given_and_no_more(tiny: zoo.Tiny) -> None:
    with attached(tiny) as (cache, attachment):
        given = seen(tiny, [A])
        values = [cache.peek(key) for key in cache.keys()]
        held = cache.info().nbytes
        tokens = sum(entry.meta["tokens"] for entry in cache.entries())
    assert 0 < tokens <= given.shape[-2]
    assert held == sum(array.nbytes for array in leaves(values))
    # Beside the features stands what the model reads again, where it says so.
    kept = attachment.family.kept
    arrays = list(leaves([value["features"] for value in values] if kept else values))
    assert len(arrays) == tiny.tiles or attachment.family.side_outputs
    for array in arrays:
        assert array.shape[-1] == given.shape[-1]
        assert array.size <= given.shape[-2] * given.shape[-1]


def test_a_store_gives_another_kernel_the_very_bits(tiny: zoo.Tiny, tmp_path: Path) -> None:
    def asked() -> tuple[dict[str, Any], int]:
        cache = VisionFeatureCache(store=tmp_path)
        with attach(tiny.model, tiny.processor, cache) as attachment:
            given = embedded(tiny, prepared(tiny, shown(tiny)))
        assert cache.close()
        return given, attachment.stages.totals().counts["tower"]

    miss, encoded = asked()
    hit, again = asked()
    assert encoded > 0
    assert again == 0
    assert same(miss, hit)


def test_weights_that_are_no_part_of_the_identity_change_no_feature(tiny: zoo.Tiny) -> None:
    def encoded() -> tuple[list[Any], str]:
        with attached(tiny) as (cache, attachment):
            seen(tiny, [A])
            return [cache.peek(key) for key in cache.keys()], attachment.scope

    values, scope = encoded()
    language = tiny.model.language_model
    language.update(tree_map(lambda weight: weight * 1.5, language.parameters()))
    values_after, scope_after = encoded()
    assert scope_after != scope or same(values_after, values)


@pytest.mark.parametrize("name", sorted(name for name in FAMILIES if not FAMILIES[name].preprocessor))
def test_a_processor_that_nothing_is_known_of_is_left_alone(name: str) -> None:
    tiny = zoo.build(name)
    processor = tiny.processor or zoo.byte_tokenizer()
    kind, inputs = type(processor), prepared(tiny, [A])
    cache = VisionFeatureCache()
    with attach(tiny.model, processor, cache) as attachment:
        assert type(processor) is kind
        assert same(embedded(tiny, dict(inputs)), embedded(tiny, dict(inputs)))
        assert attachment.stages.totals().counts["tower"] == len(cache) == tiny.tiles


def test_detach_gives_back_the_identical_objects(tiny: zoo.Tiny) -> None:
    objects = [tiny.model, tiny.processor, tiny.model.language_model]
    classes = [type(item) for item in objects]
    with attached(tiny):
        assert is_patched(tiny.model)
        with pytest.raises(RuntimeError, match="attached already"):
            attach(tiny.model, tiny.processor, VisionFeatureCache())
    assert [type(item) for item in objects] == classes
    assert not any(is_patched(module) for _, module in tiny.model.named_modules())
