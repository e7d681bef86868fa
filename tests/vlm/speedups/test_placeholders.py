"""Runs of image tokens: written out rather than tokenized, to the very ids."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zoo
from harness import prepared

from visioncache import VisionFeatureCache
from visioncache.vlm import FAMILIES, attach
from visioncache.vlm.patching.instances import is_patched
from visioncache.vlm.speedups import placeholders

if TYPE_CHECKING:
    from collections.abc import Iterator

IMAGE = "<image>"
TEXTS = [
    f"{IMAGE * 200}What differs?",
    f"a {IMAGE * 64} b {IMAGE * 300}\n{IMAGE}{IMAGE} c",
    f"{IMAGE * 63}x{IMAGE * 65}",
    f"  {IMAGE * 100}  <eos>",
]


class Config:
    image_token_index = 258


@pytest.fixture
def tokenizer() -> Any:
    made = zoo.byte_tokenizer(IMAGE)
    assert made.convert_tokens_to_ids(IMAGE) == Config.image_token_index
    return made


@contextmanager
def attached(tokenizer: Any) -> Iterator[None]:
    with ExitStack() as undo:
        processor = SimpleNamespace(tokenizer=tokenizer)
        placeholders.PlaceholderSide(processor, Config.image_token_index).install(undo)
        yield


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("tensors", [None, "np"])
def test_ids_are_those_of_the_tokenizer_itself(tokenizer: Any, text: str, tensors: str | None) -> None:
    given: list[Any] = [text, [text]] if tensors is None else [[text]]
    for asked in given:
        plain = tokenizer(asked, return_tensors=tensors, padding=True)
        with attached(tokenizer):
            for _ in range(2):  # the first is compared, the second is short
                short = tokenizer(asked, return_tensors=tensors, padding=True)
                assert short.keys() == plain.keys()
                assert all(np.array_equal(short[name], plain[name]) for name in plain)
                assert type(short["input_ids"]) is type(plain["input_ids"])
        assert not is_patched(tokenizer)


def test_what_a_run_cannot_stand_for_is_tokenized_whole(tokenizer: Any) -> None:
    plain = tokenizer(TEXTS[0], truncation=True, max_length=50)
    offsets = tokenizer(TEXTS[0], return_offsets_mapping=True)
    with attached(tokenizer):
        tokenizer(TEXTS[0])
        assert tokenizer(TEXTS[0], truncation=True, max_length=50) == plain
        assert tokenizer(TEXTS[0], return_offsets_mapping=True) == offsets


def test_a_tokenizer_that_counts_differently_is_left_alone(tokenizer: Any) -> None:
    original = type(tokenizer).__call__

    class Odd(type(tokenizer)):  # type: ignore[misc]
        def __call__(self, text: Any, **kwargs: Any) -> Any:
            tokens = original(self, text, **kwargs)
            tokens["input_ids"][0].append(len(text[0]))
            return tokens

    tokenizer.__class__ = Odd
    plain = tokenizer([TEXTS[0]])
    with attached(tokenizer):
        for _ in range(3):
            assert tokenizer([TEXTS[0]])["input_ids"] == plain["input_ids"]


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_is_given_the_ids_of_its_own_processor(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placeholders, "FEW", 2)
    tiny = zoo.build(family)
    images = zoo.photos()[: tiny.max_images]
    plain = prepared(tiny, images)["input_ids"]
    with attach(tiny.model, tiny.processor, VisionFeatureCache()):
        for _ in range(3):
            assert prepared(tiny, images)["input_ids"].tolist() == plain.tolist()
