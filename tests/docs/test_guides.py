"""Guides for developers say what is so: files are where they are named, the template builds and sees."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import zoo
from doc_pages import PAGES, ROOT
from harness import greedy

from visioncache import VisionFeatureCache, attach

if TYPE_CHECKING:
    from pathlib import Path

ROOTS = tuple(
    ROOT / place
    for place in (".", "visioncache", "visioncache/vlm", "visioncache/vlm/families", ".github/workflows")
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_file_that_a_page_names_is_there(page: Path) -> None:
    named = re.findall(r"`((?:[\w.-]+/)*[\w-]+\.(?:py|md|ipynb|yml))`", page.read_text(encoding="utf-8"))
    for name in named:
        assert name in {"NAME.py", "tests/vlm/zoo/NAME.py"} or any(
            (root / name).is_file() for root in ROOTS
        ), f"{page.name} names {name}"


def test_the_template_of_a_family_is_a_model_that_sees_and_can_be_attached() -> None:
    tiny = zoo.build("_template")
    pictures = zoo.photos()
    answers = [greedy(tiny, [picture]) for picture in pictures]
    assert len(set(map(tuple, answers))) > 1
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attached:
        assert [greedy(tiny, [picture]) for picture in pictures * 2] == answers * 2
        assert attached.stages.totals().counts["tower"] == len(pictures)
