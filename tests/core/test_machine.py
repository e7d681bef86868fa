"""The machine that numbers come from: the commit of the code."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

from visioncache import machine

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_result_names_the_commit_and_whether_code_was_changed_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*command: str) -> None:
        own = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", str(tmp_path), *own, *command], check=True, capture_output=True)

    code = tmp_path / "visioncache" / "machine.py"
    code.parent.mkdir()
    code.write_text("1\n", encoding="utf-8")
    monkeypatch.delenv("VISIONCACHE_COMMIT", raising=False)
    monkeypatch.setattr(machine, "__file__", str(code))
    assert machine.commit() is None  # as where it is installed
    git("init")
    git("add", ".")
    git("commit", "--message", "code")
    clean = machine.commit()
    assert clean is not None
    assert re.fullmatch("[0-9a-f]{12}", clean)
    (tmp_path / "result.json").write_text("{}", encoding="utf-8")
    assert machine.commit() == clean
    code.write_text("2\n", encoding="utf-8")
    assert machine.commit() == f"{clean}-dirty"
    monkeypatch.setenv("VISIONCACHE_COMMIT", "abc")
    assert machine.commit() == "abc"
