"""Prove versions of mlx-vlm: probe every family with each, and write down which is exact with which.

    python tools/prove_versions.py                    # those of VERSIONS, each in a fresh folder
    python tools/prove_versions.py 0.7.11             # one more; what is known of others stays
    python tools/prove_versions.py 0.7.10 --family llava    # of one family; of others stays what is known
    python tools/prove_versions.py --newest           # the newest mlx-vlm and mlx, pins or not; writes nothing

Writes visioncache/vlm/families/proven.json, which attachments read, and docs/develop/versions.md. A version is
installed without its dependencies, so that all run with the mlx and the transformers that are installed here.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "visioncache" / "vlm" / "families" / "proven.json"
PAGE = ROOT / "docs" / "develop" / "versions.md"
VERSIONS = [f"0.7.{patch}" for patch in (10, 9, 8, 6, 5, 4, 3, 2, 1, 0)]
"""All of 0.7 that were released, the newest first."""
BACKEND = "mlx-metal" if sys.platform == "darwin" else "mlx-cpu"
TESTS = ROOT / "tests" / "vlm"


def main() -> int:
    """Install, probe, write; status 1 where a family is wrong with a version, or no longer runs with the newest."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("versions", nargs="*", help="versions of mlx-vlm (default: all of 0.7)")
    parser.add_argument("--newest", action="store_true", help="the newest mlx-vlm and mlx; write nothing")
    parser.add_argument("--family", action="append", default=[], help="of these alone (default: all)")
    parser.add_argument("--folder", type=Path, help="where versions are installed (default: a temporary one)")
    parser.add_argument("--probe", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.probe:
        return probe_all(options.family)
    results = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        for one in ["newest"] if options.newest else options.versions or VERSIONS:
            results += probed(folder / one, one, options.family)
            if not options.newest:
                write(results)
    bad = [
        row for row in results if row["ending"] in ("WRONG", "refused") or (options.newest and _is_lost(row))
    ]
    exact = sum(row["ending"] == "exact" for row in results)
    print(f"{exact} of {len(results)} exact; {len(bad)} broken", flush=True)
    for row in bad:
        print(f"broken with {row['version']}, mlx {row['mlx']}: {row['family']} {row['line']}", flush=True)
    return int(bool(bad))


def _is_lost(row: dict[str, Any]) -> bool:
    """Tell whether a family that was proven with some version does not run."""
    table = json.loads(TABLE.read_text(encoding="utf-8"))
    return row["ending"] == "not run" and any(table.get(row["family"], {}).values())


def probed(folder: Path, which: str, families: list[str]) -> list[dict[str, Any]]:
    """Probe families with a version of mlx-vlm: the installed one, or one in a folder of its own."""
    if which != version("mlx-vlm") and not folder.exists():
        new = ["--upgrade", "mlx-vlm", "mlx", BACKEND] if which == "newest" else [f"mlx-vlm=={which}"]
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
        subprocess.run([*command, *new], check=True)  # noqa: S603
    path = os.pathsep.join(map(str, (folder, ROOT, TESTS)))
    command = [sys.executable, __file__, "--probe", *(f"--family={name}" for name in families)]
    rows = []
    with subprocess.Popen(  # noqa: S603
        command, env={**os.environ, "PYTHONPATH": path}, text=True, stdout=subprocess.PIPE
    ) as process:
        for line in process.stdout or ():
            row = json.loads(line)
            print(f"{row['version']}  {row['family']:20} {row['line']}", flush=True)
            rows.append(row)
    return rows


def probe_all(families: list[str]) -> int:
    """Print a line of JSON a family (every one, if none is named), with the mlx-vlm that is imported here."""
    import zoo
    from probe import probe

    from visioncache.vlm.families.proven import source_digest
    from visioncache.vlm.families.table import FAMILIES, KIN

    for family in families or sorted({*FAMILIES, *KIN} & set(zoo.families())):
        found = probe(family)
        row = {
            "version": version("mlx-vlm"),
            "mlx": version("mlx"),
            "family": family,
            "ending": found.ending,
            "line": found.line,
            "digest": source_digest(family),
        }
        print(json.dumps(row), flush=True)
    return 0


def write(results: list[dict[str, Any]]) -> None:
    """Merge results into what is known, and write the table and the page."""
    table: dict[str, dict[str, list[str]]] = json.loads(TABLE.read_text(encoding="utf-8"))
    for row in results:
        known = table.setdefault(row["family"], {})
        for versions in known.values():
            if row["version"] in versions:
                versions.remove(row["version"])
        if row["ending"] == "exact":
            known[row["digest"]] = sorted([*known.get(row["digest"], []), row["version"]], key=_numbers)
    table = {f: {d: v for d, v in sorted(known.items()) if v} for f, known in sorted(table.items())}
    TABLE.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(table, results), encoding="utf-8")


def page(table: dict[str, dict[str, list[str]]], results: list[dict[str, Any]]) -> str:
    """Lay the table out for people: a row a family, a column a version."""
    versions = sorted({v for known in table.values() for vs in known.values() for v in vs}, key=_numbers)
    said = {(row["family"], row["version"]): row for row in results}
    lines = [
        "# Versions of mlx-vlm",
        "",
        (
            "Made by `python tools/prove_versions.py`: a tiny model of the real class of every family, with every version "
            f"of mlx-vlm, on mlx {version('mlx')} and transformers {version('transformers')}."
        ),
        "",
        (
            "`exact`: what the language model is given, and greedy tokens, are those without a cache, on a miss and on a "
            "hit, of one image, two in both orders, three, a large one, and in prompts of other words; a hit does no work, and one "
            "image is the same to the last bit. Tokens of `muse_spark` are not compared: its language model needs Metal. `-`: mlx-vlm has no such family there, or "
            "it does not run, or has not been tried. Where a version or the source of a family is not in this table, the first encode of each "
            "kind of request is compared with the model's own answer before anything is stored."
        ),
        "",
        f"| family | {' | '.join(versions)} |",
        f"| --- |{' --- |' * len(versions)}",
    ]
    notes: list[str] = []
    for family, known in table.items():
        exact = {v for vs in known.values() for v in vs}
        cells = []
        for one in versions:
            row = said.get((family, one))
            cell = (
                "exact"
                if one in exact
                else "-"
                if row is None or row["ending"] == "not run"
                else row["ending"]
            )
            cells.append(cell)
            if row is not None and cell not in ("exact", "-"):
                notes.append(f"* `{family}`, {one}: {row['line']}")
        lines.append(f"| `{family}` | {' | '.join(cells)} |")
    settings = [
        "",
        "## What differs between them",
        "",
        (
            "* Up to 0.7.8 `prepare_inputs(..., max_pixels=...)` drops the setting: `process_inputs` passes on arguments "
            "that the processor names, and the Qwens' take theirs as `**kwargs`. So the pixels are those without it, and "
            "a hit is right. From 0.7.9 it is passed on, and is part of the key."
        ),
        "* 0.7.7 was never released.",
    ]
    return "\n".join([*lines, *([""] if notes else []), *notes, *settings]) + "\n"


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(".")]


if __name__ == "__main__":
    sys.exit(main())
