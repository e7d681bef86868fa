"""Code of a user's where libraries open, turn, convert or resize images: it runs as without a cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mlx_vlm.utils
import pytest
import zoo
from harness import embedded
from mlx_vlm.utils import prepare_inputs
from PIL import Image, ImageFile, ImageOps, JpegImagePlugin, MpoImagePlugin, PngImagePlugin
from twins import Scene, assert_alike, outcome, played, right

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

A, B, _ = zoo.photos()
FAMILIES = ["gemma3", "idefics3", "llava", "phi3_v", "qwen2_5_vl"]
MIRRORED = Image.Transpose.FLIP_LEFT_RIGHT
Patch = pytest.MonkeyPatch


def a_loader(patch: Patch) -> None:
    own = mlx_vlm.utils.load_image
    patch.setattr(mlx_vlm.utils, "load_image", lambda *args: own(*args).transpose(MIRRORED))


def a_loader_of_the_same_name(patch: Patch) -> None:
    own = mlx_vlm.utils.load_image

    def load_image(source: Any, timeout: int = 10) -> Any:
        return own(source, timeout).transpose(MIRRORED)

    patch.setattr(mlx_vlm.utils, "load_image", load_image)


def a_processing_of_images(patch: Patch) -> None:
    own = mlx_vlm.utils.process_image
    patch.setattr(mlx_vlm.utils, "process_image", lambda *args: own(*args).point(lambda x: x // 2))


def a_way_to_turn(patch: Patch) -> None:
    patch.setattr(ImageOps, "exif_transpose", lambda image, **_: image.transpose(MIRRORED))


def a_conversion(patch: Patch) -> None:
    own = Image.Image.convert
    patch.setattr(Image.Image, "convert", lambda *args, **named: own(*args, **named).point(lambda x: x // 2))


def an_open(patch: Patch) -> None:
    own = Image.open
    patch.setattr(Image, "open", lambda *args, **named: own(*args, **named).convert("L").convert("RGB"))


class Mirrored(PngImagePlugin.PngImageFile):
    """Reads PNG files from right to left."""

    def load_end(self) -> None:
        super().load_end()
        self.im = mirrored(self)


def mirrored(image: Any) -> Any:
    """The pixels of an image that is decoded, from right to left."""
    whole = Image.Image()
    whole.im, whole._mode, whole._size = image.im, image.mode, image.size
    return whole.transpose(MIRRORED).im


def a_reader_of_files(patch: Patch) -> None:
    patch.setitem(Image.OPEN, "PNG", (Mirrored, Image.OPEN["PNG"][1]))


def a_reader_s_method(patch: Patch) -> None:
    own = PngImagePlugin.PngImageFile.load_end

    def load_end(image: Any) -> None:
        own(image)
        image.im = mirrored(image)

    patch.setattr(PngImagePlugin.PngImageFile, "load_end", load_end)


def a_way_to_load(patch: Patch) -> None:
    a_load_of(ImageFile.ImageFile, patch)


def a_jpeg_s_way_to_load(patch: Patch) -> None:
    for kind in (JpegImagePlugin.JpegImageFile, MpoImagePlugin.MpoImageFile):
        a_load_of(kind, patch)


def a_load_of(kind: Any, patch: Patch) -> None:
    own = kind.load

    def load(image: Any) -> Any:
        is_new = image._im is None
        made = own(image)
        if is_new:
            image.im = mirrored(image)
        return made

    patch.setattr(kind, "load", load)


def an_orientation(patch: Patch) -> None:
    own = Image.Image.getexif

    def getexif(image: Any) -> Any:
        exif = own(image)
        exif[0x112] = 3
        return exif

    patch.setattr(Image.Image, "getexif", getexif)


def no_orientation(patch: Patch) -> None:
    patch.setattr(Image.Exif, "get", lambda _, __, default=None: default, raising=False)


def a_transposition(patch: Patch) -> None:
    own = Image.Image.transpose
    patch.setattr(Image.Image, "transpose", lambda image, _: own(image, MIRRORED))


def a_limit(patch: Patch) -> None:
    patch.setattr(Image, "MAX_IMAGE_PIXELS", 100)


OWN: list[Callable[[Patch], None]] = [
    a_loader, a_loader_of_the_same_name, a_processing_of_images, a_way_to_turn, a_conversion, an_open,
    a_reader_of_files, a_reader_s_method, a_way_to_load, a_limit,
]  # fmt: skip
OF_TURNED = [a_jpeg_s_way_to_load, an_orientation, no_orientation, a_transposition]
"""Code that runs where a JPEG is decoded and turned upright."""


@pytest.mark.filterwarnings("ignore:an image is not cached")
@pytest.mark.parametrize("own", [*OWN, *OF_TURNED], ids=lambda own: own.__name__)
@pytest.mark.parametrize("family", FAMILIES)
def test_own_code_that_opens_images_is_what_opens_them(
    family: str, own: Callable[[Patch], None], tmp_path: Path
) -> None:
    turned = Image.Exif()
    turned[0x112] = 6
    A.save(path := str(tmp_path / ("a.jpg" if own in OF_TURNED else "a.png")), exif=turned)

    def play(scene: Scene) -> list[Any]:
        answers = [scene.ask(path)]
        with pytest.MonkeyPatch.context() as patch:
            own(patch)
            answers += [scene.ask(path), scene.ask(path)]
            scene.detach()
            answers += [scene.ask(path)]
            scene.attach()
            answers += [scene.ask(path), scene.ask(path)]
        return [*answers, scene.ask(path)]

    answers = assert_alike(family, play)
    assert not right(answers[1], answers[0])
    assert right(answers[-1], answers[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_source_that_only_an_own_loader_knows_is_loaded(family: str, monkeypatch: Patch) -> None:
    own = mlx_vlm.utils.load_image
    photos = {"photo:1": A, "photo:2": B}
    monkeypatch.setattr(mlx_vlm.utils, "load_image", lambda source: photos.get(source) or own(source))

    def play(scene: Scene) -> list[Any]:
        return [scene.ask("photo:1"), scene.ask("photo:2"), scene.ask("photo:1"), scene.encodes()]

    (*plain, _), (*ours, encodes) = played(family, play)
    assert all(map(right, ours, plain))
    assert encodes == 2  # and the third is a hit


@pytest.mark.parametrize("family", FAMILIES)
def test_an_own_way_to_resize_is_the_one_that_resizes(family: str, monkeypatch: Patch) -> None:
    def resized(scene: Scene) -> Any:
        def ask() -> Any:
            inputs = prepare_inputs(
                scene.processor,
                images=[A],
                prompts=scene.tiny.prompt(1),
                resize_shape=(40, 40),
                image_token_index=getattr(scene.model.config, "image_token_index", None),
            )
            return embedded(scene.tiny, inputs)

        return outcome(ask)

    def play(scene: Scene) -> list[Any]:
        answers = [resized(scene), resized(scene)]
        own = mlx_vlm.utils.resize_image
        with monkeypatch.context() as patch:
            patch.setattr(mlx_vlm.utils, "resize_image", lambda *args: own(*args).transpose(MIRRORED))
            answers += [resized(scene), resized(scene)]
        return [*answers, resized(scene)]

    answers = assert_alike(family, play)
    assert not right(answers[2], answers[0])
