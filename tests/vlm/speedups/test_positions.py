"""Positions of a prompt's tokens are counted at once: the same numbers as from list to list, or mlx-vlm's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
import pytest
import zoo
from harness import embedded, prepared, same
from mlx_vlm.models.qwen2_5_vl.language import LanguageModel
from PIL import Image

from visioncache import VisionFeatureCache
from visioncache.vlm import attach
from visioncache.vlm.request.seam import Seam
from visioncache.vlm.speedups import positions

if TYPE_CHECKING:
    from collections.abc import Iterator

FAMILIES = ["qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "qwen3_5", "glm4v", "paddleocr_vl"]
SIZES = [(28, 112), (140, 84), (196, 252)]


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Start and leave with no sizes of pictures known."""
    positions._same.clear()
    yield
    positions._same.clear()


def photo(size: tuple[int, int], seed: int = 0) -> Image.Image:
    rng = np.random.default_rng([seed, *size])
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), np.uint8))


def language(family: str) -> Any:
    return zoo.build(family).model.language_model


def prompt(model: Any, sizes: list[tuple[int, int, int]], texts: list[int], seed: int = 0) -> mx.array:
    """Token ids `[1, tokens]` of pictures among as many words as `texts` says, in turn."""
    config = model.config
    rng = np.random.default_rng(seed)
    merge = config.vision_config.spatial_merge_size
    special = {config.vision_start_token_id, config.image_token_id, config.video_token_id}
    words = [token for token in range(20) if token not in special]
    ids: list[int] = rng.choice(words, texts[0]).tolist()
    for (frames, height, width), text in zip(sizes, texts[1:], strict=True):
        rows = frames * (height // merge) * (width // merge)
        ids += [config.vision_start_token_id, *[config.image_token_id] * rows]
        ids += rng.choice(words, text).tolist()
    return mx.array([ids])


def both(model: Any, ids: mx.array, sizes: list[Any], mask: Any = None) -> tuple[Any, Any]:
    """Positions in mlx-vlm's way, and in ours, asked twice: compared, then not."""
    given = ids, mx.array(sizes), None, mask
    theirs = model.get_rope_index(*given)
    with Seam(None).opened("give", []):  # type: ignore[arg-type]
        for _ in range(2):
            ours = positions.positioned(model.get_rope_index, *given)
    return theirs, ours


@pytest.mark.parametrize("family", FAMILIES)
def test_numbers_are_those_of_mlx_vlm(family: str) -> None:
    model = language(family)
    rng = np.random.default_rng(0)
    for seed in range(20):
        sizes = [
            (int(rng.integers(1, 3)), *(2 * rng.integers(1, 9, 2)).tolist()) for _ in range(seed % 4 + 1)
        ]
        texts = rng.integers(0, 12, len(sizes) + 1).tolist()
        positions._same.clear()
        for words in range(2):  # the second of other words, and as many others, is not compared
            ids = prompt(model, sizes, [n + words for n in texts], seed)
            for mask in (None, mx.ones_like(ids)):
                theirs, ours = both(model, ids, sizes, mask)
                assert [a.dtype for a in ours] == [a.dtype for a in theirs]
                assert all(map(mx.array_equal, ours, theirs))
        assert set(positions._same._held.values()) == {True}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_hit_counts_nothing_in_lists(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = zoo.build(family)
    images = [photo(SIZES[1]), photo(SIZES[1], 1)]
    plain = [embedded(tiny, prepared(tiny, [image])) for image in images]
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attached:
        assert attached.speedups["positions"].on
        assert same(plain[0], embedded(tiny, prepared(tiny, [images[0]])))
        calls = []
        counts = positions._positions
        monkeypatch.setattr(positions, "_positions", lambda *args: calls.append(args) or counts(*args))
        assert same(plain[1], embedded(tiny, prepared(tiny, [images[1]])))
        assert same(plain[0], embedded(tiny, prepared(tiny, [images[0]])))
        assert len(calls) == 2
    assert type(tiny.model.language_model).get_rope_index.__name__ == "get_rope_index"


def test_other_numbers_leave_such_pictures_to_mlx_vlm(monkeypatch: pytest.MonkeyPatch) -> None:
    model = language("qwen2_5_vl")
    own = positions._positions
    monkeypatch.setattr(positions, "_positions", lambda *args: own(*args) + 1)
    theirs, ours = both(model, prompt(model, [(1, 4, 6)], [3, 5]), [(1, 4, 6)])
    assert all(map(mx.array_equal, ours, theirs))
    assert [*positions._same._held.values()] == [False]


@pytest.mark.parametrize("what", ["padded", "two prompts", "fewer pictures", "cut off", "a film"])
def test_what_is_not_a_prompt_with_its_pictures_is_left_to_mlx_vlm(what: str) -> None:
    model = language("qwen2_5_vl")
    sizes = [(1, 4, 6)]
    ids = prompt(model, sizes, [3, 5])
    mask, grids, films = mx.ones_like(ids), mx.array(sizes), None
    if what == "padded":
        mask = mx.array([[0, *[1] * (ids.shape[1] - 1)]])
    elif what == "two prompts":
        ids, mask, grids = mx.concatenate([ids, ids]), None, mx.array(sizes * 2)
    elif what == "fewer pictures":
        grids = mx.array(sizes * 2)
    elif what == "cut off":
        ids, mask = ids[:, :-6], mask[:, :-6]
    else:
        films, grids = grids, None
        ids = mx.where(ids == model.config.image_token_id, model.config.video_token_id, ids)
    theirs = model.get_rope_index(ids, grids, films, mask)
    with Seam(None).opened("give", []):  # type: ignore[arg-type]
        ours = positions.positioned(model.get_rope_index, ids, grids, films, mask)
    assert all(map(mx.array_equal, ours, theirs))
    assert len(positions._same) == 0


def test_a_method_of_the_users_own_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    own = LanguageModel.get_rope_index

    def shifted(self: Any, *args: Any, **kwargs: Any) -> Any:
        places, deltas = own(self, *args, **kwargs)
        return places + 3, deltas

    monkeypatch.setattr(LanguageModel, "get_rope_index", shifted)
    tiny = zoo.build("qwen2_5_vl")
    image = photo(SIZES[0])
    plain = embedded(tiny, prepared(tiny, [image]))
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attached:
        assert not attached.speedups["positions"].on
        assert all(same(plain, embedded(tiny, prepared(tiny, [image]))) for _ in range(3))


def test_code_that_is_put_into_the_method_is_compared_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model = language("qwen2_5_vl")
    sizes = [(1, 4, 6)]
    ids = prompt(model, sizes, [3, 5])
    both(model, ids, sizes)

    def other(
        self: Any, input_ids: Any, image_grid_thw: Any, video_grid_thw: Any, attention_mask: Any
    ) -> Any:
        return mx.zeros((3, 1, input_ids.shape[1]), mx.int32), mx.zeros((1, 1), mx.int32)

    monkeypatch.setattr(LanguageModel.get_rope_index, "__code__", other.__code__)
    theirs, ours = both(model, ids, sizes)
    assert all(map(mx.array_equal, ours, theirs))


def test_outside_of_a_hit_mlx_vlm_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(positions, "_positions", None)
    tiny = zoo.build("qwen2_5_vl")
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attached, attached.bypass():
        embedded(tiny, prepared(tiny, [photo(SIZES[1])]))
    assert len(positions._same) == 0


def test_a_family_without_such_positions_says_so() -> None:
    tiny = zoo.build("llava")
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attached:
        assert (
            str(attached.speedups["positions"]) == "positions off: this family counts no positions in lists"
        )
