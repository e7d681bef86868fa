"""The table of families, as the README and `visioncache families` show it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from visioncache.vlm.families.left_out import LEFT_OUT, NO_PREFIX, UNPROVEN
from visioncache.vlm.families.table import FAMILIES

if TYPE_CHECKING:
    from visioncache.vlm.families.family import Family


def family_records() -> list[dict[str, Any]]:
    """One object a family: its names, what an entry is, what a hit skips, what is proven, and reasons.

    Granularity is `image` or `request`; an entry may hold less than an image, a `tile` of it. `no_prefix` is
    why no keys and values of its prompts are kept.
    """
    records = [_record(family) for family in FAMILIES.values()]
    return sorted(records, key=lambda record: str(record["family"]))


def left_out_records() -> list[dict[str, Any]]:
    """One object a model of mlx-vlm that takes images and is not supported: its name, and the reason."""
    return [
        {"family": name, "supported": False, "reason": reason} for name, reason in sorted(LEFT_OUT.items())
    ]


def markdown_table() -> str:
    """The same as a table in Markdown."""
    lines = [
        "| family | entry | a hit skips | kept beside features | proven exact | prefixes |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for record in family_records():
        kept, exact = record["side_outputs"] or "-", ", ".join(record["exact"])
        prefix = f"no prefix: {record['no_prefix']}" if record["no_prefix"] else "yes"
        cells = [f"per {record['entry']}", ", ".join(record["skips"]), kept, exact, prefix]
        names = ", ".join(f"`{name}`" for name in (record["family"], *record["kin"]))
        lines.append(f"| {names} | " + " | ".join(cells) + " |")
    lines += ["", "| left out | reason |", "| --- | --- |"]
    lines += [f"| `{record['family']}` | {record['reason']} |" for record in left_out_records()]
    return "\n".join(lines)


def _record(family: Family) -> dict[str, Any]:
    # What is stored is what the language model is given, so nothing before that runs on a hit.
    before = ["decode", "preprocess"] if family.preprocessor else []
    vision = ["projector"] if family.projector else ["tower", "projector"]
    return {
        "family": family.name,
        "kin": list(family.kin),
        "supported": True,
        "granularity": "request" if family.granularity == "request" else "image",
        "entry": family.granularity,
        "skips": [*before, *vision],
        "side_outputs": family.side_outputs,
        "exact": list(family.proven),
        "reason": "",
        "no_prefix": NO_PREFIX.get(family.name) or UNPROVEN.get(family.name, ""),
    }
