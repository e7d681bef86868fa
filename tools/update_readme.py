"""Write the table of families into README.md, between its two marks."""

from __future__ import annotations

import re
from pathlib import Path

from visioncache.vlm.families.listing import markdown_table

README = Path(__file__).resolve().parents[1] / "README.md"


def updated(text: str) -> str:
    """The README's text with the table as the declarations have it now."""
    return re.sub(
        r"(<!-- families -->\n).*?(<!-- /families -->)",
        lambda marks: f"{marks[1]}{markdown_table()}\n{marks[2]}",
        text,
        flags=re.DOTALL,
    )


if __name__ == "__main__":
    README.write_text(updated(README.read_text(encoding="utf-8")), encoding="utf-8")
