"""The table of families, as the README and `visioncache families` show it."""

from __future__ import annotations

from typing import Any

from visioncache.vlm.families import FAMILIES, UNSUPPORTED, Family


def family_records() -> list[dict[str, Any]]:
    """One object a family of mlx-vlm: family, kin, supported, granularity, skips, side_outputs, reason."""
    records = [_supported(family) for family in FAMILIES.values()]
    records += [
        {
            "family": name,
            "kin": [],
            "supported": False,
            "granularity": None,
            "skips": [],
            "side_outputs": "",
            "reason": reason,
        }
        for name, reason in UNSUPPORTED.items()
    ]
    return sorted(records, key=lambda record: str(record["family"]))


def markdown_table() -> str:
    """The same as a table in Markdown."""
    lines = [
        "| family | supported | entry | a hit skips | kept beside features |",
        "| --- | --- | --- | --- | --- |",
    ]
    for record in family_records():
        if record["supported"]:
            skips = ", ".join(record["skips"])
            cells = ["yes", f"per {record['granularity']}", skips, record["side_outputs"] or "-"]
        else:
            cells = ["no", "-", record["reason"], "-"]
        names = ", ".join(f"`{name}`" for name in (record["family"], *record["kin"]))
        lines.append(f"| {names} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _supported(family: Family) -> dict[str, Any]:
    seam = family.seam.rpartition(".")[2]
    tower = ["tower"] if seam in {"vision_tower", "vision_model", "visual"} else ["tower", "projector"]
    if family.projector:
        tower = ["projector"]
    return {
        "family": family.name,
        "kin": list(family.kin),
        "supported": True,
        "granularity": family.granularity,
        "skips": [*(["decode", "preprocess"] if family.processor else []), *tower],
        "side_outputs": family.side_outputs,
        "reason": "",
    }
