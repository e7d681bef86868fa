"""The table of families says what is declared."""

from __future__ import annotations

import re
from pathlib import Path

import mlx_vlm.models

from visioncache.vlm.families.left_out import LEFT_OUT
from visioncache.vlm.families.listing import family_records
from visioncache.vlm.families.table import FAMILIES, KIN

ROOT = Path(__file__).resolve().parents[3]
BLIND = {"qwen3_5_text"}
"""Packages that speak of a vision side, and have none."""


def test_a_row_of_the_table_comes_from_a_row_of_declarations() -> None:
    records = {record["family"]: record for record in family_records()}
    for name, family in FAMILIES.items():
        record = records[name]
        assert record["entry"] == family.granularity
        assert ("decode" in record["skips"]) == bool(family.preprocessor)
        assert ("tower" in record["skips"]) == (not family.projector)
        assert record["side_outputs"] == family.side_outputs
        assert record["exact"] == list(family.proven)


def test_every_package_of_mlx_vlm_that_takes_images_has_a_row_or_a_reason() -> None:
    sources = list(Path(mlx_vlm.models.__path__[0]).glob("*/*.py"))
    takes = re.compile("cached_image_features|class VisionConfig|vision_config|VisionModel")
    names = {path.parent.name for path in sources if takes.search(path.read_text("utf-8"))}
    assert not names - {*FAMILIES, *KIN, *LEFT_OUT, *BLIND}


def test_what_is_left_out_has_no_row() -> None:
    assert not {*FAMILIES, *KIN} & {*LEFT_OUT}


def test_pages_say_how_many_families_there_are() -> None:
    for page in ("README.md", "CHANGELOG.md"):
        said = re.findall(r"for (\d+) families", (ROOT / page).read_text("utf-8"))
        assert said[0] == str(len(family_records())), page
