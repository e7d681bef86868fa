"""Images that PIL has open stay what they were first, and one with ways of its own is asked in these ways."""

from __future__ import annotations

import copy
import gc
import pickle
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zoo
from PIL import Image, ImageDraw, ImageOps, PngImagePlugin
from twins import Scene, assert_alike, outcome, right

from visioncache import VisionFeatureCache
from visioncache.vlm.patching import touched
from visioncache.vlm.request import opened

if TYPE_CHECKING:
    from collections.abc import Callable

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
@pytest.mark.parametrize("with_ways", [False, True])
def test_a_class_that_is_derived_from_an_asked_image_s_own(
    family: str, with_ways: bool, tmp_path: Path
) -> None:
    A.save(tmp_path / "a.png")

    def play(scene: Scene) -> list[Any]:
        image = Image.open(tmp_path / "a.png")
        answers = [scene.ask(image)]
        image.__class__ = type("Mine", (type(image),), {})
        if with_ways:
            image.__class__ = type("Mirror", (Mirrored, type(image)), {})
        return [*answers, scene.ask(image), scene.ask(image)]

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


def filled(image: Any, value: int) -> Any:
    """One pixel of an image's mode."""
    return value if len(image.getbands()) == 1 else (value,) * len(image.getbands())


def its_file(image: Any) -> Path:
    return Path(image.filename)


TOUCHES: dict[str, Callable[[Any], Any]] = {
    "frombytes": lambda image: image.frombytes(bytes(len(image.getbands()) * image.width * image.height)),
    "putdata": lambda image: image.putdata([filled(image, 0)] * (image.width * image.height)),
    "putpixel": lambda image: image.putpixel((3, 3), filled(image, 1)),
    "paste": lambda image: image.paste(filled(image, 9), (5, 5, 30, 30)),
    "load": lambda image: image.load().__setitem__((4, 4), filled(image, 7)),
    "im": lambda image: setattr(image, "im", B.resize(image.size).convert(image.mode).im),
    "the pixels themselves": lambda image: image.im.paste(filled(image, 3), (0, 0, 9, 9)),
    "readonly": lambda image: setattr(image, "readonly", 0) or image.readonly,
    "is it readonly": lambda image: image.readonly,
    "draw": lambda image: ImageDraw.Draw(image).rectangle((1, 1, 20, 20), fill=filled(image, 5)),
    "thumbnail": lambda image: image.thumbnail((20, 20)),
    "draft": lambda image: image.draft("L", (10, 10)) is None,
    "putalpha": lambda image: image.putalpha(3),
    "a size": lambda image: setattr(image, "_size", (10, 10)),
    "a mode": lambda image: setattr(image, "_mode", "L"),
    "no tiles": lambda image: setattr(image, "tile", []),
    "the end of a with": lambda image: image.__exit__(None, None, None),
    "close": lambda image: image.close(),
    "verify": lambda image: image.verify(),
    "another frame": lambda image: image.seek(1),
    "info": lambda image: sorted(map(str, image.info)),
    "a copy": lambda image: copy.copy(image).tobytes(),
    "a deep copy": lambda image: copy.deepcopy(image).tobytes(),
    "a pickle": lambda image: pickle.loads(pickle.dumps(image)).tobytes(),  # noqa: S301  # made here
    "numpy": lambda image: np.asarray(image).tobytes(),
    "a small one": lambda image: image.resize((20, 20), reducing_gap=1.0).tobytes(),
    "its class": lambda image: image.__class__.__qualname__ + type(image).__qualname__,
    "another class": lambda image: setattr(image, "__class__", Mirrored),
    "its file is overwritten": lambda image: its_file(image).write_bytes(b"") or image.tobytes(),
    "an orientation": lambda image: ImageOps.exif_transpose(image, in_place=True),
}
FILES = [
    ("png", "RGB"),
    ("png", "P"),
    ("jpeg", "RGB"),
    ("gif", "P"),
    ("tiff", "RGB"),
    ("webp", "RGB"),
    ("jp2", "RGB"),
]


SOME = ["load", "info", "the end of a with", "its file is overwritten", "another class"]
"""Touches after which formats differ most."""
CASES = [
    *(("gemma3", *file, touch) for file in FILES[:3] for touch in TOUCHES),
    *(("gemma3", *file, touch) for file in FILES[3:] for touch in SOME),
    *(("qwen2_5_vl", *FILES[0], touch) for touch in TOUCHES),
]


@pytest.mark.parametrize(("family", "suffix", "mode", "touch"), CASES, ids="-".join)
def test_an_opened_image_that_was_asked_about_is_as_if_it_were_decoded(
    family: str, suffix: str, mode: str, touch: str, tmp_path: Path
) -> None:
    def play(scene: Scene) -> list[Any]:
        path, other = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"
        A.resize((96, 64)).convert(mode).save(path)
        B.resize((96, 64)).convert(mode).save(other)
        image = Image.open(path)
        answers = [scene.ask(image)]
        said = outcome(lambda: TOUCHES[touch](image))
        marks.append((type(said), str(said)) if isinstance(said, Exception) else said)
        return [*answers, scene.ask(image), scene.ask(Image.open(other)), scene.ask(image)]

    marks: list[Any] = []
    assert_alike(family, play)
    assert marks[0] == marks[1]


@pytest.mark.parametrize("touch", ["putpixel", "load", "is it readonly", "draw", "the end of a with"])
@pytest.mark.parametrize("suffix", ["bmp", "tiff", "pgm"])
def test_an_opened_image_that_pil_maps_is_as_if_it_were_decoded(
    suffix: str, touch: str, tmp_path: Path
) -> None:
    def play(scene: Scene) -> list[Any]:
        A.resize((96, 64)).convert("L").save(tmp_path / f"a.{suffix}")
        image = Image.open(tmp_path / f"a.{suffix}")
        answers = [scene.ask(image)]
        said = outcome(lambda: TOUCHES[touch](image))
        marks.append((type(said), str(said)) if isinstance(said, Exception) else said)
        return [*answers, scene.ask(image)]

    marks: list[Any] = []
    assert_alike("gemma3", play)
    assert marks[0] == marks[1]


@pytest.mark.parametrize("family", ["gemma3", "qwen2_5_vl"])
def test_drawing_on_an_opened_image_makes_other_keys_and_its_likes_keep_theirs(
    family: str, tmp_path: Path
) -> None:
    A.save(tmp_path / "a.png")
    scene = Scene(zoo.build(family), VisionFeatureCache(), with_processor=True)
    image, like = Image.open(tmp_path / "a.png"), Image.open(tmp_path / "a.png")
    scene.ask(image)
    scene.ask(like)
    assert scene.encodes() == 1
    image.frombytes(bytes(3 * image.width * image.height))
    scene.ask(image)
    assert scene.encodes() == 2
    scene.ask(like)
    scene.ask(Image.frombytes("RGB", image.size, bytes(3 * image.width * image.height)))
    assert scene.encodes() == 2
    scene.detach()


@pytest.mark.parametrize("family", ["gemma3", "qwen2_5_vl"])
def test_the_end_of_a_with_decodes_nothing(family: str, tmp_path: Path) -> None:
    A.save(tmp_path / "a.png")
    scene = Scene(zoo.build(family), VisionFeatureCache(), with_processor=True)
    with Image.open(tmp_path / "a.png") as image:
        first = scene.ask(image)
        file = touched.fields(image)["fp"]
    assert file.closed
    (tmp_path / "a.png").unlink()
    assert right(scene.ask(image), first)
    assert touched.fields(image)["_im"] is None
    assert image.tobytes() == A.tobytes()
    scene.detach()


def test_an_image_that_was_touched_is_of_its_own_class_again(tmp_path: Path) -> None:
    A.save(tmp_path / "a.png")
    image = Image.open(tmp_path / "a.png")
    assert opened.unread(image) is not None
    assert image.__class__ is PngImagePlugin.PngImageFile
    assert repr(image).startswith("<PIL.PngImagePlugin.PngImageFile image mode=RGB")
    assert touched.is_heard(image)
    image.load()
    assert type(image) is PngImagePlugin.PngImageFile
    assert opened.unread(image) is None


@pytest.mark.parametrize("suffix", ["png", "jpeg", "gif", "tiff", "webp", "bmp", "tga"])
@pytest.mark.parametrize("family", ["gemma3", "qwen2_5_vl"])
def test_asking_again_decodes_nothing_of_an_opened_image(family: str, suffix: str, tmp_path: Path) -> None:
    A.save(tmp_path / f"a.{suffix}")
    scene = Scene(zoo.build(family), VisionFeatureCache(), with_processor=True)
    image = Image.open(tmp_path / f"a.{suffix}")
    for _ in range(3):
        scene.ask(image)
        assert touched.is_heard(image)
        assert touched.fields(image)["_im"] is None
    assert scene.encodes() == 1
    scene.detach()


@pytest.mark.parametrize("way", ["written into", "replaced", "replaced before", "loaded, then written into"])
@pytest.mark.parametrize("mode", ["CMYK", "L", "RGBA"])
@pytest.mark.parametrize("family", ["gemma3", "idefics3", "llava", "mistral3", "qwen2_5_vl"])
def test_a_file_that_pil_maps_goes_on_to_decide_its_picture(
    family: str, mode: str, way: str, tmp_path: Path
) -> None:
    path, other = tmp_path / "a.tif", tmp_path / "b.tif"

    def change() -> None:
        B.resize(A.size).convert(mode).save(other)
        if way.startswith("replaced"):
            other.replace(path)
        else:
            with path.open("r+b") as file:
                file.write(other.read_bytes())

    def play(scene: Scene) -> list[Any]:
        path.unlink(missing_ok=True)
        A.convert(mode).save(path)
        image = Image.open(path)
        if way == "replaced before":
            change()
            return [scene.ask(image), scene.ask(image)]
        if way.startswith("loaded"):
            image.load()
        answers = [scene.ask(image)]
        change()
        return [*answers, scene.ask(image), scene.ask(image)]

    assert_alike(family, play)


@pytest.mark.parametrize("name", ["BMP", "GIF", "PNG", "TIFF"])
@pytest.mark.parametrize("family", ["gemma3", "idefics3", "llava", "mistral3", "qwen2_5_vl"])
def test_a_palette_that_somebody_holds_may_be_written_into(family: str, name: str) -> None:
    def play(scene: Scene) -> list[Any]:
        file = BytesIO()
        A.convert("P").save(file, name)
        image = Image.open(file)
        palette = image.palette
        assert palette is not None
        answers = [scene.ask(image)]
        palette.palette = bytes(255 - colour for colour in palette.palette)
        palette.dirty = 1
        return [*answers, scene.ask(image), scene.ask(image)]

    assert_alike(family, play)


def test_one_content_is_one_entry_by_a_path_and_as_a_file_that_pil_maps(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    A.convert("L").save(path)
    scene = Scene(zoo.build("llava"), VisionFeatureCache(), with_processor=True)
    for image in (str(path), Image.open(path), path, Image.open(path)):
        scene.ask(image)
    scene.detach()
    assert scene.cache is not None
    assert (len(scene.cache), scene.cache.info().misses) == (1, 1)
