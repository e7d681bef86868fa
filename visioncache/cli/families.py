"""`visioncache families`: the table of mlx-vlm's families."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `visioncache families` takes."""
    parser.add_argument("--json", action="store_true", help="a list of objects")


def run(options: argparse.Namespace) -> int:
    """Print which families are supported, and how; and which models are not, and why."""
    from visioncache.vlm.families.listing import family_records, left_out_records, markdown_table

    records = [*family_records(), *left_out_records()]
    print(json.dumps(records, indent=1) if options.json else markdown_table())
    return 0
