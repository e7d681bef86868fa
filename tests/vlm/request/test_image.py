"""Where images come from: what identifies them, and that they are seen as without a cache."""

from __future__ import annotations

import contextlib
import http.server
import threading
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
import pytest
import zoo
from harness import asked, embedded, greedy, prepared, same
from PIL import Image

from visioncache import Key, VisionFeatureCache
from visioncache.vlm import attach
from visioncache.vlm.request.image import SourceImage, open_source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

A, B, C = zoo.photos()


@pytest.fixture
def tiny() -> zoo.Tiny:
    return zoo.build("qwen2_5_vl")


@pytest.fixture
def cache() -> VisionFeatureCache:
    return VisionFeatureCache()


def test_a_path_that_is_overwritten_is_another_image(
    tiny: zoo.Tiny, cache: VisionFeatureCache, tmp_path: Path
) -> None:
    path = tmp_path / "picture.png"
    with attach(tiny.model, tiny.processor, cache):
        A.save(path)
        first = greedy(tiny, [str(path)])
        B.save(path)
        second = greedy(tiny, [str(path)])
    assert cache.info().misses == 2
    assert (first, second) == (greedy(tiny, [A]), greedy(tiny, [B]))


def test_a_copy_under_another_name_is_the_same_image(
    tiny: zoo.Tiny, cache: VisionFeatureCache, tmp_path: Path
) -> None:
    for name in ("one.png", "two.png"):
        A.save(tmp_path / name)
    assert asked(tiny, cache, str(tmp_path / "one.png")) == (0, 1)
    assert asked(tiny, cache, str(tmp_path / "two.png")) == (1, 0)


def test_the_bytes_that_were_identified_are_the_bytes_that_are_decoded(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    A.save(path)
    source = open_source(str(path), transpose=True)
    B.save(path)
    assert source.convert("RGB").tobytes() == A.tobytes()


def test_a_rotated_photo_is_turned_as_mlx_vlm_turns_it(
    tiny: zoo.Tiny, cache: VisionFeatureCache, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    B.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    path = str(tmp_path / "turned.jpg")
    by_path, by_picture = (embedded(tiny, prepared(tiny, [image])) for image in (path, Image.open(path)))
    assert not same(by_path, by_picture)
    with attach(tiny.model, tiny.processor, cache):
        assert same(embedded(tiny, prepared(tiny, [path])), by_path)
        assert same(embedded(tiny, prepared(tiny, [Image.open(path)])), by_picture)
    assert cache.info().misses == 2


def test_a_picture_that_was_only_opened_is_not_decoded_on_a_hit(
    tiny: zoo.Tiny, cache: VisionFeatureCache, tmp_path: Path
) -> None:
    A.save(tmp_path / "a.png")
    asked(tiny, cache, Image.open(tmp_path / "a.png"))
    opened = Image.open(tmp_path / "a.png")
    assert asked(tiny, cache, opened) == (1, 0)
    assert opened.tile, "its pixels were read"


def test_a_picture_in_memory_is_identified_by_its_pixels(tiny: zoo.Tiny, cache: VisionFeatureCache) -> None:
    grey = A.convert("L")
    assert asked(tiny, cache, A) == (0, 1)
    assert asked(tiny, cache, A.copy()) == (1, 0)
    assert asked(tiny, cache, grey) == (0, 1)


@contextlib.contextmanager
def served(folder: Path) -> Iterator[tuple[str, list[str]]]:
    asked_for: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(folder))

        def log_message(self, *_: Any) -> None:
            asked_for.append(self.path)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked_for
        server.shutdown()


@pytest.mark.parametrize(("trusted", "downloads"), [(False, 2), (True, 1)])
def test_a_url_is_its_content_unless_it_is_trusted(
    tiny: zoo.Tiny, cache: VisionFeatureCache, tmp_path: Path, *, trusted: bool, downloads: int
) -> None:
    A.save(tmp_path / "a.png")
    with (
        served(tmp_path) as (url, asked_for),
        attach(tiny.model, tiny.processor, cache, trust_urls=trusted),
    ):
        for _ in range(2):
            embedded(tiny, prepared(tiny, [f"{url}/a.png"]))
    assert (cache.info().hits, cache.info().misses) == (1, 1)
    assert len(asked_for) == downloads


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_header_tells_a_size_without_decoding(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    A.save(path, exif=exif)
    source = open_source(str(path), transpose=True)
    told = source.size
    assert not source.decoded
    assert source.convert("RGB").size == told
    B.save(path)
    source.load()
    assert source.size == told == (A.size if orientation == 1 else A.size[::-1])


def test_a_source_image_is_decoded_when_its_pixels_are_touched() -> None:
    source = open_source(A, transpose=False)
    assert isinstance(source, SourceImage)
    assert not source.decoded
    assert source.resize((8, 8)).size == (8, 8)
    assert source.decoded


# What decides how pixels are shown ----------------------------------------------------------------


@pytest.mark.parametrize("name", ["picture.gif", "palette.png", "grey.png", "colour.png"])
@pytest.mark.parametrize("family", ["gemma3", "idefics3", "qwen2_5_vl"])
def test_a_transparent_colour_is_seen_as_without_a_cache(family: str, name: str, tmp_path: Path) -> None:
    mode = {"grey.png": "L", "colour.png": "RGB"}.get(name, "P")
    picture = A.quantize(8).convert(mode) if mode != "P" else A.quantize(8)
    picture.save(tmp_path / name, transparency=picture.getpixel((0, 0)))
    tiny = zoo.build(family)
    path = str(tmp_path / name)
    plain = embedded(tiny, prepared(tiny, [path]))
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attached:
        for _ in range(2):
            assert same(embedded(tiny, prepared(tiny, [path])), plain)
        assert attached.stages.totals().counts["decode"] == 1


def test_a_transparent_colour_and_an_orientation_belong_to_a_pictures_identity() -> None:
    grey = A.convert("L")
    clear, turned = grey.copy(), grey.copy()
    clear.info["transparency"] = 5
    turned.getexif()[0x0112] = 6
    assert len({Key.from_image(image).text for image in (grey, clear, turned)}) == 3


def test_a_picture_drawn_on_before_it_is_decoded_is_the_one_that_was_decoded(
    tiny: zoo.Tiny, cache: VisionFeatureCache
) -> None:
    picture = A.copy()
    source = open_source(picture, transpose=False)
    picture.paste(B.resize(A.size))
    assert source.convert("RGB").tobytes() == picture.tobytes()
    source.load()
    assert source.key == Key.from_image(picture)
    assert asked(tiny, cache, source) == (0, 1)
    assert asked(tiny, cache, A) == (0, 1)


# Handed to the processor itself ---------------------------------------------------------------------


def by_processor(tiny: zoo.Tiny, image: Any) -> dict[str, Any]:
    made = tiny.processor(text=[tiny.prompt(1)], images=[image], return_tensors="mlx")
    return embedded(tiny, {n: mx.array(v) if isinstance(v, np.ndarray) else v for n, v in made.items()})


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "L", "P", "CMYK", "1"])
@pytest.mark.parametrize("family", ["aya_vision", "gemma3", "internvl_chat", "llava_next", "qwen2_5_vl"])
def test_a_processor_sees_pictures_of_every_mode_as_without_a_cache(family: str, mode: str) -> None:
    tiny = zoo.build(family)
    picture = A.convert(mode)
    if "A" in mode:
        picture.putalpha(Image.fromarray(np.asarray(A.convert("L"))))
    try:
        plain = by_processor(tiny, picture)
    except Exception as error:  # noqa: BLE001  # whatever it refuses
        with attach(tiny.model, tiny.processor, VisionFeatureCache()), pytest.raises(type(error)):
            by_processor(tiny, picture)
        return
    with attach(tiny.model, tiny.processor, VisionFeatureCache()):
        for _ in range(2):
            assert same(by_processor(tiny, picture), plain)


@pytest.mark.parametrize("family", ["glm4v", "llava", "llava_next", "paligemma", "qwen2_5_vl", "glm_ocr"])
def test_a_processor_turns_a_rotated_photo_as_without_a_cache(family: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    B.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    path, tiny = str(tmp_path / "turned.jpg"), zoo.build(family)
    plain = by_processor(tiny, path)
    with attach(tiny.model, tiny.processor, VisionFeatureCache()):
        for _ in range(2):
            assert same(by_processor(tiny, path), plain)


@pytest.mark.parametrize("family", ["aya_vision", "minicpmo"])
def test_what_has_no_identity_is_processed_as_without_a_cache(family: str) -> None:
    tiny, pixels = zoo.build(family), np.asarray(A)
    for image in (np.ma.masked_array(pixels), pixels.astype(object)):
        plain = by_processor(tiny, image)
        with attach(tiny.model, tiny.processor, VisionFeatureCache()):
            by_processor(tiny, A)
            for _ in range(2):
                assert same(by_processor(tiny, image), plain)
