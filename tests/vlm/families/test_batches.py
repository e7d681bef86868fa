"""Every family of the table with several prompts in one batch: as mlx-vlm answers without a cache."""

from __future__ import annotations

import sys
from typing import Any

import mlx_vlm
import pytest
import zoo
from harness import answers, embedded, prepared, same
from mlx_vlm.utils import StoppingCriteria

from visioncache import VisionFeatureCache
from visioncache.vlm import FAMILIES, attach
from visioncache.vlm.families.table import KIN

NAMES = sorted(name for name, family in {**FAMILIES, **KIN}.items() if family.preprocessor)
A, B, C = zoo.photos()
TURNED = A.rotate(180)


@pytest.fixture(params=NAMES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


def batched(tiny: zoo.Tiny, batch: zoo.Batch) -> dict[str, Any]:
    """Return what the language model is given of two prompts, each with images of its own."""
    first, second = (min(count, tiny.max_images) for count in batch.images)
    images = [A, TURNED, C.resize(A.size)] if batch.one_size else [A, B, C]
    groups = [images[:first], images[first : first + second]]
    prompts = [tiny.prompt(len(group)) for group in groups]
    return embedded(tiny, prepared(tiny, groups if batch.nested else images[: first + second], prompts))


def test_two_prompts_in_one_batch_are_given_what_they_are_without_a_cache(family: str) -> None:
    tiny, batch = zoo.build(family), zoo.batch_of(family)
    if batch.error:
        with pytest.raises(Exception, match=batch.error):
            batched(tiny, batch)
        return
    plain = batched(tiny, batch)
    cache = VisionFeatureCache()
    with attach(tiny.model, tiny.processor, cache) as attachment:
        miss = batched(tiny, batch)
        before = attachment.stages.totals()
        hit = batched(tiny, batch)
        work = attachment.stages.totals().since(before).counts
    assert same(miss, hit)
    assert work["tower"] == 0
    assert miss.keys() == plain.keys()
    name = "cross_attention_states" if "cross_attention_states" in plain else "inputs_embeds"
    one, other = miss[name], plain[name]
    assert one.shape == other.shape
    assert abs(one - other).max().item() <= 1e-4 * abs(other).max().item()


def test_batch_generate_answers_as_without_a_cache(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # The zoo's tokenizers have no chat templates; its prompts are written as one would write them.
    dispatch = sys.modules["mlx_vlm.generate.ar"]
    monkeypatch.setattr(dispatch, "apply_chat_template", lambda _, __, prompt, **___: prompt)
    tiny, batch = zoo.build(family), zoo.batch_of(family)
    answers(tiny)
    if batch.undefined:
        pytest.skip(f"mlx-vlm's own answer is not defined: {batch.undefined}")
    if batch.generate_error:
        with pytest.raises(Exception, match=batch.generate_error):
            generated(tiny)
        return
    if family == "ernie4_5_moe_vl":
        generated(tiny)  # it keeps what it knew of the positions of the last batch
    plain = generated(tiny)
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attachment:
        assert generated(tiny) == plain
        before = attachment.stages.totals()
        assert generated(tiny) == plain
        assert attachment.stages.totals().since(before).counts["tower"] == 0


def generated(tiny: zoo.Tiny) -> list[str]:
    """Greedy tokens of three prompts with an image each, of which two are batched for their size."""
    tokenizer = getattr(tiny.processor, "tokenizer", tiny.processor)
    tiny.processor.detokenizer, tokenizer.stopping_criteria = Spelled(), StoppingCriteria([], tokenizer)
    answer = mlx_vlm.batch_generate(
        tiny.model, tiny.processor, images=[A, B, TURNED], prompts=[tiny.prompt(1)] * 3, max_tokens=4
    )
    return answer.texts


class Spelled:
    """A detokenizer that spells out ids: other tokens are never the same text."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.tokens: list[int] = []

    def add_token(self, token: int, **_: Any) -> None:
        self.tokens.append(int(token))

    def finalize(self) -> None:
        pass

    @property
    def text(self) -> str:
        return " ".join(map(str, self.tokens))
