"""mlx-vlm from a checkout: it is what its files are, as proven where they are, and no other code's entries are its."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlx_vlm.models.kernels
import transformers

from visioncache import machine
from visioncache.vlm.scope import code

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pytest

HERE = Path(__file__).parent
FAMILIES = ["gemma3", "llava", "phi3_v", "qwen2_5_vl"]
SCRIPT = """
import json, sys, warnings
import zoo
from twins import Scene, right
from visioncache import VisionFeatureCache

A, B, _ = zoo.photos()
for family in sys.argv[2:]:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with VisionFeatureCache(store=sys.argv[1]) as cache:
            scene = Scene(zoo.build(family), cache, with_processor=True)
            plain = Scene(zoo.build(family), None, with_processor=True)
            first = scene.encodes(), right(scene.ask(A), plain.ask(A))
            new = cache.info().misses
            answers = [right(scene.ask(A), plain.ask(A)) for _ in range(2)]
            settings = scene.attached.processor_side.settings
            print(json.dumps(dict(
                family=family, same=all([first[1], *answers]), new=new, hits=cache.info().hits,
                opaque=scene.attached.opaque, proven=scene.attached.trust.proven, note=scene.attached.trust.note,
                scope=scene.attached.scope, settings=settings.digest,
            )))
            scene.detach()
    print(json.dumps([str(one.message) for one in said if "cached" in str(one.message)]))
"""


def checkout(folder: Path, module: Any, edits: Mapping[str, tuple[str, str]] = {}) -> Path:
    """Lay a package's files into a folder, as links, but for those that are edited."""
    installed = Path(str(module.__file__)).parent
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(installed, folder / installed.name, copy_function=os.symlink, ignore=ignored)
    for name, (before, after) in edits.items():
        file = folder / installed.name / name
        text, count = re.subn(before, after, file.read_text())
        assert count
        file.unlink()
        file.write_text(text)
    return folder


def asked(store: Path, *families: str, path: Path | None = None) -> list[dict[str, Any]]:
    """Ask three times about an image, in a process of its own, with packages of a folder first."""
    paths = [*([str(path)] if path else []), str(HERE), str(HERE.parents[1])]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(store), *families],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith(("{", "["))]
    return [{**facts, "said": said} for facts, said in zip(told[::2], told[1::2], strict=True)]


def test_a_checkout_with_the_proven_files_is_as_proven_and_shares_entries_with_what_is_installed(
    tmp_path: Path,
) -> None:
    installed = asked(tmp_path / "store", *FAMILIES)
    there = asked(tmp_path / "store", *FAMILIES, path=checkout(tmp_path / "git", mlx_vlm))
    for one, other in zip(installed, there, strict=True):
        assert other["proven"]
        assert (other["said"], other["note"], other["opaque"]) == ([], "", "")
        assert (other["scope"], other["settings"]) == (one["scope"], one["settings"])
        assert (one["new"], other["new"]) == (1, 0)
        assert (one["same"], other["same"]) == (True, True)


EDITS = {
    "models/gemma3/gemma3.py": (r"return (projected_vision_outputs)", r"return (\1 * 0.5)"),
    "models/llava/llava.py": (r"(x = self.linear_2\(x\))", r"\1 * 0.5"),
    "models/phi3_v/processing_phi3_v.py": (r"(    return img)(\.resize)", r"\1.rotate(180)\2"),
    "models/qwen3_vl/processing_qwen3_vl.py": (r"arr = np.array\(img\)", "arr = 255 - np.array(img)"),
}
"""What somebody changed in a checkout, of each family; by files."""


def test_what_an_edited_checkout_encodes_is_its_own_and_is_compared_first(tmp_path: Path) -> None:
    installed = asked(tmp_path / "store", *FAMILIES)
    edited = checkout(tmp_path / "git", mlx_vlm, EDITS)
    for again in range(2):
        for one, other in zip(installed, asked(tmp_path / "store", *FAMILIES, path=edited), strict=True):
            assert other["same"]
            assert not other["proven"]
            assert "another source than it was proven with" in other["note"]
            assert not other["opaque"]
            assert (other["scope"], other["settings"]) != (one["scope"], one["settings"])
            assert (other["new"], other["hits"]) == (0 if again else 1, 2)  # and one of the store's


def test_other_libraries_from_a_checkout_are_not_cached_and_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "git").mkdir()
    (tmp_path / "git" / "transformers").symlink_to(Path(str(transformers.__file__)).parent)
    for facts in asked(tmp_path / "store", "gemma3", "idefics3", path=tmp_path / "git"):
        assert facts["same"]
        assert facts["hits"] == 0
        assert facts["opaque"].startswith("transformers is imported from where nothing is installed")
        assert len(facts["said"]) == (facts["family"] == "gemma3")


def test_a_checkout_without_a_distribution_says_its_own_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(machine, "version", none)
    assert machine.installed("mlx-vlm") == mlx_vlm.__version__
    assert machine.installed("nothing-of-this-name") == ""


def test_a_kernel_is_known_by_the_source_of_its_module() -> None:
    known = {
        code.source_of(f"mlx_vlm.{module}.kernel") for module in ("models.kernels", "models.base", "utils")
    }
    assert len(known) == 3
    assert code.source_of("mlx_vlm.models.base.kernel") == code.source_of("mlx_vlm.models.base")
