"""The table of families says what is declared."""

from __future__ import annotations

from pathlib import Path

import mlx_vlm.models

from visioncache.vlm.families.listing import family_records
from visioncache.vlm.families.table import FAMILIES


def test_a_row_of_the_table_comes_from_a_row_of_declarations() -> None:
    records = {record["family"]: record for record in family_records()}
    for name, family in FAMILIES.items():
        record = records[name]
        assert record["entry"] == family.granularity
        assert ("decode" in record["skips"]) == bool(family.preprocessor)
        assert ("tower" in record["skips"]) == (not family.projector)
        assert record["side_outputs"] == family.side_outputs
        assert record["exact"] == list(family.proven)


def test_every_family_of_mlx_vlm_that_takes_cached_features_has_a_row() -> None:
    sources = Path(mlx_vlm.models.__path__[0]).glob("*/*.py")
    names = {path.parent.name for path in sources if "cached_image_features" in path.read_text("utf-8")}
    records = family_records()
    assert {record["family"] for record in records} == names
    assert len(records) == len(names) == 61
