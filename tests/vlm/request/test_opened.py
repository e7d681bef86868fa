"""Images that PIL has open stay what they were first, and one with ways of its own is asked in these ways."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import pytest
import zoo
from PIL import Image
from twins import Scene, assert_alike

from visioncache import VisionFeatureCache
from visioncache.vlm.request import opened

if TYPE_CHECKING:
    from pathlib import Path

A, B, _ = zoo.photos()
FAMILIES = ["florence2", "gemma3", "molmo2", "phi3_v", "qwen2_5_vl"]


@pytest.mark.parametrize("size", [A.size, (120, 40)], ids=["one size", "another size"])
@pytest.mark.parametrize("family", FAMILIES)
def test_an_opened_image_is_the_same_picture_after_its_file_was_overwritten(
    family: str, size: tuple[int, int], tmp_path: Path
) -> None:
    path = tmp_path / "frame.png"

    def play(scene: Scene) -> list[Any]:
        A.save(path)
        image = Image.open(path)
        answers = [scene.ask(image)]
        B.resize(size).save(path)
        return [
            *answers,
            scene.ask(image),
            scene.ask(Image.open(path)),
            scene.ask(str(path)),
            scene.ask(image),
        ]

    assert_alike(family, play)


def test_the_bytes_of_an_opened_image_are_kept_no_longer_than_it(tmp_path: Path) -> None:
    A.save(tmp_path / "a.png")
    image = Image.open(tmp_path / "a.png")
    gc.collect()  # images of tests before
    held = len(opened._read)
    assert opened.unread(image) == (tmp_path / "a.png").read_bytes()
    assert len(opened._read) == held + 1
    del image
    gc.collect()
    assert len(opened._read) == held


class Mirrored(Image.Image):
    """An image that turns itself over whenever it is converted or resized."""

    def convert(self, *args: Any, **kwargs: Any) -> Image.Image:
        return super().convert(*args, **kwargs).transpose(Image.Transpose.FLIP_LEFT_RIGHT)

    def resize(self, *args: Any, **kwargs: Any) -> Image.Image:
        return super().resize(*args, **kwargs).transpose(Image.Transpose.FLIP_LEFT_RIGHT)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_image_of_a_class_with_ways_of_its_own_is_what_that_says(family: str) -> None:
    mirrored, replaced = A.copy(), A.copy()
    mirrored.__class__ = Mirrored
    for name in ("convert", "resize"):
        setattr(replaced, name, getattr(B, name))

    def play(scene: Scene) -> list[Any]:
        return [scene.ask(image) for image in (A, mirrored, replaced, A, B, mirrored)]

    assert_alike(family, play)


@pytest.mark.parametrize("family", FAMILIES)
def test_images_that_only_are_identified_have_no_ways_of_their_own(family: str) -> None:
    scene = Scene(zoo.build(family), VisionFeatureCache(), with_processor=True)
    scene.ask(A)
    scene.ask(A)
    assert {
        name: count for name, count in scene.attached.stages.totals().counts.items() if name != "key"
    } == {
        "decode": 1,
        "preprocess": 1,
        "tower": 1,
    }
    scene.detach()
