"""`visioncache warm`: what it encodes is found by whoever opens the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from PIL import Image

from visioncache import VisionFeatureCache
from visioncache.cli import main
from visioncache.study.benchmark.demo import load_model
from visioncache.vlm import Chat

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "trip").mkdir(parents=True)
    for name, colour in [("a.png", "teal"), ("b.jpg", "red"), ("trip/c.png", "gold")]:
        Image.new("RGB", (56, 84), colour).save(folder / name)
    return folder


def test_a_folder_that_was_warmed_is_found_in_the_store(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "features"
    assert main(["warm", "demo", str(photos), f"{photos}/**/c.*", "--store", str(store)]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "3 encoded, 0 held already"
    with (
        VisionFeatureCache(store=store) as cache,
        Chat(*load_model(), cache, max_tokens=1) as chat,
    ):
        turn = chat.ask("What?", [photos / "a.png", photos / "trip/c.png"])
        assert (turn.encodes, turn.store_hits, turn.misses) == (0, 2, 0)
    assert main(["warm", "demo", str(photos), "--store", str(store), "-q"]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[0] == "0 encoded, 2 held already"
    assert "image/s" not in captured.err


def test_what_is_no_image_is_a_line_and_status_1(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "broken.png").write_bytes(b"nothing")
    assert main(["warm", "demo", str(photos), "--store", str(tmp_path / "features"), "-q"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "2 encoded, 0 held already, 1 unreadable"
    assert lines[1].startswith(f"{photos / 'broken.png'}: ")


def test_nothing_to_warm_is_one_line_before_a_model_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["warm", "/no/such/model", f"{tmp_path}/*.png", "--store", str(tmp_path / "features")]) == 2
    assert capsys.readouterr().err == f"visioncache warm: {tmp_path}/*.png: no file is called like that\n"
