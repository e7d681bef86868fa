"""Measuring one's own machine: resumed where it was, said beforehand, without a path of the machine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import own_machine
import pytest

from visioncache.study import load_model, load_result

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def loaded() -> tuple[Any, Any]:
    return load_model()


def session(folder: Path, name: str) -> str:
    turns = [{"ask": "What is this?", "images": ["cat.png"]}, {"ask": "Is this image an animal?"}]
    path = folder / f"{name}.jsonl"
    path.write_text("\n".join(map(json.dumps, [{"session": name}, *turns])), encoding="utf-8")
    return str(path)


def test_a_run_goes_on_where_it_was(
    loaded: tuple[Any, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = session(tmp_path, "first"), session(tmp_path, "second")

    def measure(*sessions: str, trials: int = 1) -> Path:
        return own_machine.measure(
            *loaded, None, ["112x84"], sessions, trials=trials, folder=tmp_path / "out"
        )

    path = measure(first)
    assert "0 of 1 sessions are measured; 16 turns are left" in capsys.readouterr().out
    before = load_result(path).turns
    assert measure(first, second) == path
    assert "1 of 2 sessions are measured; 16 turns are left" in capsys.readouterr().out
    after = load_result(path).turns
    assert after.head(len(before)).equals(before)  # not measured again
    assert after.groupby("session").size().to_dict() == {"first": 8, "second": 8}
    assert load_result(path).tokens_equal
    assert measure(first, trials=2) == path  # one trial was too few
    assert "0 of 1 sessions are measured; 24 turns are left" in capsys.readouterr().out
    assert load_result(path).turns.groupby("session")["trial"].nunique().to_dict() == {
        "first": 2,
        "second": 1,
    }


def test_what_other_versions_measured_is_set_aside_and_not_lost(
    loaded: tuple[Any, Any], tmp_path: Path
) -> None:
    path = own_machine.measure(
        *loaded, None, ["112x84"], [session(tmp_path, "s")], trials=1, folder=tmp_path / "out"
    )
    old = json.loads(path.read_text(encoding="utf-8"))
    old["machine"]["mlx"] = "0.1.2"
    path.write_text(json.dumps(old), encoding="utf-8")
    own_machine.set_aside(path, load_result(path).machine | {"mlx": "0.3.4"})
    assert not path.exists()
    (aside,) = path.parent.glob("*-0.1.2-*.json")
    assert load_result(aside).machine["mlx"] == "0.1.2"


def test_a_result_holds_no_path_of_the_machine(tmp_path: Path) -> None:
    assert own_machine.public_name(str(tmp_path)) == tmp_path.name
    assert own_machine.public_name("mlx-community/Qwen2.5-VL-3B-Instruct-4bit").startswith("mlx-community/")
    assert own_machine.public_name(None) == "demo-vlm"
