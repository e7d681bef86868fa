"""d1: decisions, read off the first token of an answer, are those without a cache."""

from __future__ import annotations

from typing import Any

import zoo

from visioncache import VisionFeatureCache
from visioncache.vlm import attach

A, B, C = zoo.photos()
TEMPLATE = (
    "{% for message in messages %}<|im_start|>user\n{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endfor %}"
)
QUESTIONS = {
    "grade": {"type": "score", "instructions": "How sharp is it?", "criteria": ["not", "a bit", "very"]},
    "kind": {"type": "choice", "instructions": "Of what kind?", "criteria": ["map", "photo"]},
}


def decided(tiny: zoo.Tiny, images: list[Any], *names: str) -> Any:
    questions = {name: QUESTIONS[name] for name in names}
    return tiny.model.predict(tiny.processor, "A picture.", questions, images)


def test_decisions_are_those_without_a_cache_and_encode_an_image_once() -> None:
    tiny = zoo.build("d1")
    tiny.processor.tokenizer.chat_template = TEMPLATE
    requests = [([A], ["grade"]), ([A, B], ["grade", "kind"]), ([B, A], ["kind"]), ([], ["kind"])]
    plain = [decided(tiny, images, *names) for images, names in requests]
    assert plain[0]["answers"] != decided(tiny, [C], "grade")["answers"]
    with attach(tiny.model, tiny.processor, VisionFeatureCache(200)) as attached:
        assert [decided(tiny, images, *names) for images, names in requests] == plain
        encoded = attached.stages.totals().counts["tower"]
        assert encoded > 0
        assert [decided(tiny, images, *names) for images, names in requests] == plain
        assert attached.stages.totals().counts["tower"] == encoded
    assert [decided(tiny, images, *names) for images, names in requests] == plain
