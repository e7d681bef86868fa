"""Build the widget's script and style sheet, one file each, from the parts under static/src.

    python tools/build_widget.py

anywidget takes one script and one style sheet and needs no build tool. So the parts, ES modules that import
from one another, are put one after another, each after those it imports, without their import and export lines.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

STATIC = Path(__file__).parent.parent / "visioncache" / "jupyter" / "static"
ENTRY = "page.js"
SHEETS = ("base", "head", "shelf", "bars", "detail", "table")
_IMPORT = re.compile(r'^import \{[^}]*\} from "\./(\w+\.js)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export \{[^}]*\};\n", re.MULTILINE)
HEADER = "{0} Made of static/src by tools/build_widget.py; change those files, then `make widget`. {1}\n\n"


def script(entry: str = ENTRY) -> str:
    """The script: every module once, after the modules that it imports."""
    done: dict[str, str] = {}

    def add(name: str) -> None:
        if name in done:
            return
        text = (STATIC / "src" / name).read_text(encoding="utf-8")
        done[name] = ""  # an import circle would be no error for a browser either
        for imported in _IMPORT.findall(text):
            add(imported)
        del done[name]
        done[name] = _EXPORT.sub("", _IMPORT.sub("", text)).strip()

    add("types.js")
    add(entry)
    return HEADER.format("//", "").replace(" \n", "\n") + "\n\n".join(done.values()) + "\n"


def style() -> str:
    """The style sheet: its parts in order, what depends on the width of the page last."""
    parts = [(STATIC / "src" / f"{name}.css").read_text(encoding="utf-8").strip() for name in SHEETS]
    return HEADER.format("/*", "*/") + "\n\n".join(parts) + "\n"


def main() -> None:
    """Write both files."""
    for name, text in (("widget.js", script()), ("widget.css", style())):
        (STATIC / name).write_text(text, encoding="utf-8")
        sys.stdout.write(f"{STATIC / name}\n")


if __name__ == "__main__":
    main()
