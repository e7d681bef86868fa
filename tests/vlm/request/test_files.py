"""Image files: identified and sized by their header, decoded to the pixels that mlx-vlm decodes them to."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pillow_heif
import pytest
import zoo
from harness import asked, embedded, prepared, same
from mlx_vlm.utils import load_image
from PIL import GifImagePlugin, Image, ImageFile, ImageOps
from twins import Scene, assert_alike, played

from visioncache import VisionFeatureCache
from visioncache.vlm import attach
from visioncache.vlm.families.image_processors import OPENING
from visioncache.vlm.request import source as sources
from visioncache.vlm.request.file import decode, header_of
from visioncache.vlm.request.image import open_source

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

A, B, C = zoo.photos()
PHOTO = A.resize((60, 20))

SHORT, ASCII, RATIONAL, UNDEFINED, FLOAT = 3, 2, 5, 7, 11


def exif(value: bytes, kind: int = SHORT, count: int = 1) -> bytes:
    """An EXIF block of one orientation, of any value and type; values of more than 4 bytes lie behind."""
    inline, behind = (value.ljust(4, b"\0"), b"") if len(value) <= 4 else (struct.pack("<I", 26), value)
    return b"Exif\0\0II*\0" + struct.pack("<IHHHI", 8, 1, 0x0112, kind, count) + inline + bytes(4) + behind


BLOCKS: dict[str, bytes | None] = {
    "none": None,
    **{str(value): exif(struct.pack("<H", value)) for value in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 65535)},
    "ascii": exif(b"6\0", ASCII, 2),
    "undefined": exif(b"\6", UNDEFINED),
    "two": exif(struct.pack("<HH", 6, 1), SHORT, 2),
    "rational": exif(struct.pack("<II", 6, 1), RATIONAL),
    "float": exif(struct.pack("<f", 6.0), FLOAT),
    "cut": exif(struct.pack("<H", 6))[:15],
    "twice": b"Exif\0\0Exif\0\0II*\0",
    "noise": b"Exif\0\0" + bytes(range(40)),
}
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6"/></x:xmpmeta>'
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "GIF", "BMP", "PPM", "MPO", "JPEG2000", "ICO", "TGA")


def outcome(call: Any) -> Any:
    """An image's size and RGB pixels, or that there are none."""
    try:
        image = call().convert("RGB")
        return image.size, image.tobytes()
    except Exception:  # noqa: BLE001  # whatever it is, no picture came of it
        return "an error"


def check(path: Path) -> None:
    """By path and as an opened image, told and decoded as mlx-vlm and PIL do it, unread and read."""
    theirs = outcome(lambda: load_image(str(path)))
    ours = outcome(lambda: open_source(str(path), transpose=True))
    assert ours == theirs
    told = outcome(lambda: sized(open_source(str(path), transpose=True)))
    assert told == theirs
    for touched in (False, True):
        assert outcome(partial(seen, path, touched=touched)) == outcome(partial(given, path, touched=touched))


def given(path: Path, *, touched: bool) -> Any:
    """An image that PIL opened, decoded before it was given or not."""
    image = Image.open(path)
    if touched:
        with suppress(Exception):
            image.load()
    return image


def seen(path: Path, *, touched: bool) -> Any:
    return open_source(given(path, touched=touched), transpose=True)


def sized(source: Any) -> Any:
    """A source that was asked for its size first; that is the size of its pixels."""
    told = source.size
    source.load()
    assert source.size == told
    return source


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "MPO"])
@pytest.mark.parametrize("name", BLOCKS)
def test_an_orientation_of_any_value_and_type_is_applied_as_mlx_vlm_applies_it(
    tmp_path: Path, kind: str, name: str
) -> None:
    path = tmp_path / f"photo.{kind.lower()}"
    block = BLOCKS[name]
    try:
        PHOTO.save(path, kind, **({} if block is None else {"exif": block}))
    except Exception:  # noqa: BLE001
        pytest.skip(f"PIL writes no {kind} with such a block")
    check(path)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "CMYK", "1", "P", "I;16", "F"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_a_turned_tiff_is_what_pil_makes_of_it_by_path_and_in_memory(
    tmp_path: Path, orientation: int, mode: str, compression: str | None
) -> None:
    picture = (
        Image.fromarray(np.asarray(PHOTO.convert("L")).astype(np.uint16) * 99) if mode == "I;16" else None
    )
    turned = Image.Exif()
    turned[0x0112] = orientation
    path = tmp_path / "photo.tiff"
    (picture or PHOTO.convert(mode)).save(path, exif=turned.tobytes(), compression=compression)
    check(path)
    data = path.read_bytes()
    assert outcome(lambda: open_source(io.BytesIO(data), transpose=True)) == outcome(
        lambda: load_image(io.BytesIO(data))
    )


@pytest.mark.parametrize("kind", ["TIFF", "PNG", "JPEG", "WEBP", "AVIF"])
def test_an_orientation_in_xmp_is_applied_as_mlx_vlm_applies_it(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "photo"
    if kind == "TIFF":
        from PIL import TiffImagePlugin

        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[700] = XMP
        tags.tagtype[700] = TiffImagePlugin.TiffTags.BYTE
        PHOTO.save(path, kind, tiffinfo=tags)
    elif kind == "PNG":
        from PIL import PngImagePlugin

        text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", XMP.decode())
        PHOTO.save(path, kind, pnginfo=text)
    else:
        PHOTO.save(path, kind, xmp=XMP)
    assert load_image(str(path)).size == PHOTO.size[::-1]
    check(path)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("damaged", [False, True])
@pytest.mark.parametrize("kind", ["eXIf", "tEXt", "zTXt"])
def test_a_png_s_exif_counts_before_its_pixels_after_them_and_damaged(
    tmp_path: Path, kind: str, place: str, *, damaged: bool
) -> None:
    block = exif(struct.pack("<H", 6))
    profile = f"\nexif\n{len(block):8}\n{block.hex()}\n".encode()
    if damaged:
        block, profile = block[:15], b"\nexif\n      12\nno hexadecimal digits\n"
    text = b"Raw profile type exif\0"
    content = {
        "eXIf": block.removeprefix(b"Exif\0\0"),
        "tEXt": text + profile,
        "zTXt": text + b"\0" + zlib.compress(profile),
    }[kind]
    plain = io.BytesIO()
    PHOTO.save(plain, "PNG")
    data = plain.getvalue()
    at = data.index(b"IDAT") - 4 if place == "before" else data.index(b"IEND") - 4
    path = tmp_path / "photo.png"
    path.write_bytes(data[:at] + chunk(kind.encode(), content) + data[at:])
    check(path)
    source = open_source(str(path), transpose=True)
    if place == "after":
        assert header_of(source.key, path.read_bytes()).orientation is None


def test_a_png_without_text_behind_its_pixels_tells_its_size_without_decoding(tmp_path: Path) -> None:
    A.save(tmp_path / "a.png")
    source = open_source(str(tmp_path / "a.png"), transpose=True)
    assert source.size == A.size
    assert not source.decoded


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "1", "CMYK"])
def test_every_format_and_mode_is_decoded_as_without_a_cache(tmp_path: Path, kind: str, mode: str) -> None:
    path = tmp_path / "photo"
    try:
        PHOTO.convert(mode).save(path, kind)
    except (OSError, ValueError):
        pytest.skip(f"PIL writes no {kind} of mode {mode}")
    check(path)


@pytest.mark.parametrize("cut", [0, 3, 30, 200, -5])
@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_that_is_cut_short_is_an_error_where_it_is_one_without_a_cache(
    tmp_path: Path, kind: str, cut: int
) -> None:
    path = tmp_path / "photo"
    PHOTO.convert("L").save(path, kind)
    path.write_bytes(path.read_bytes()[:cut])
    check(path)
    if cut in {0, 3}:
        with pytest.raises(
            ValueError, match="Failed to load image from .*photo: (cannot identify|Reached EOF)"
        ):
            open_source(str(path), transpose=True).load()


@pytest.mark.parametrize("cut", [3, 30, -30, "half", "zeros"])
@pytest.mark.parametrize("kind", ["BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("family", ["gemma3", "idefics3", "llava", "phi3_v", "qwen2_5_vl"])
def test_a_damaged_file_is_the_error_that_it_is_without_a_cache_by_every_door(
    family: str, kind: str, cut: Any, tmp_path: Path
) -> None:
    path = tmp_path / "photo"
    C.resize((120, 90)).save(path, kind)
    data = path.read_bytes()
    half = len(data) // 2
    data = {"half": data[:half], "zeros": data[:half] + bytes(half)}.get(cut) or data[:cut]
    path.write_bytes(data)
    text = base64.b64encode(data).decode()

    def play(scene: Scene) -> list[Any]:
        uri = f"data:image/png;base64,{text}"
        opened = [suppressed(lambda: Image.open(io.BytesIO(data))), suppressed(lambda: Image.open(path))]
        return [scene.ask(image) for image in (str(path), uri, uri[:-1], data, *opened) for _ in range(2)]

    plain, ours = played(family, play)
    assert [*map(type, ours)] == [*map(type, plain)]


def suppressed(call: Any) -> Any:
    with suppress(Exception):
        return call()
    return None


# What was done to an opened file ------------------------------------------------------------------


def reduced(path: Path) -> Any:
    image: Any = Image.open(path)
    image.reduce = 2
    return image


def drafted(path: Path) -> Any:
    image = Image.open(path)
    image.draft("L", (40, 30))
    return image


def sought(path: Path) -> Any:
    image = Image.open(path)
    image.seek(1)
    return image


def turned(path: Path) -> Any:
    image = Image.open(path)
    image.getexif()[0x0112] = 6
    return image


def cleared(path: Path) -> Any:
    image = Image.open(path)
    image.info["transparency"] = (200, 10, 10)
    return image


def drawn(path: Path) -> Any:
    image = Image.open(path)
    image.paste((255, 0, 0), (0, 0, 20, 20))
    return image


def tagged(path: Path) -> Any:
    image: Any = Image.open(path)
    image.tag_v2[0x0112] = 6
    return image


def of_other_colours(path: Path) -> Any:
    image = Image.open(path)
    image.putpalette(bytes(range(255, -1, -1)) * 3)
    return image


def of_other_colours_in_place(path: Path) -> Any:
    image: Any = Image.open(path)
    image.palette.palette = bytes(255 - value for value in image.palette.palette)
    return image


def reordered(path: Path) -> Any:
    image: Any = Image.open(path)
    image.tile = [tile._replace(args=("BGR", *tile.args[1:])) for tile in image.tile]
    return image


def smaller(path: Path) -> Any:
    image: Any = Image.open(path)
    image.size = (32, 32)
    return image


CHANGES = [
    ("jp2", reduced),
    ("jpg", drafted),
    ("gif", sought),
    ("webp", sought),
    ("tiff", sought),
    ("jpg", drawn),
    ("png", cleared),
    ("ico", smaller),
    ("tiff", turned),
    ("tiff", tagged),
    ("gif", of_other_colours),
    ("gif", of_other_colours_in_place),
    ("bmp", of_other_colours),
    ("tiff", reordered),
]


@pytest.mark.parametrize("family", ["gemma3", "idefics3", "llava", "phi3_v", "qwen2_5_vl"])
@pytest.mark.parametrize(("suffix", "change"), CHANGES)
def test_an_opened_file_that_was_changed_is_another_image(
    family: str, suffix: str, change: Any, tmp_path: Path
) -> None:
    path, tiny = tmp_path / f"photo.{suffix}", zoo.build(family)
    frames = {"save_all": True, "append_images": [B.resize((96, 96))]} if change is sought else {}
    sizes = {"sizes": [(96, 96), (32, 32)]} if suffix == "ico" else {}
    shown = A.resize((96, 96)).quantize(16) if suffix == "bmp" else A.resize((96, 96))
    shown.save(path, **frames, **sizes)
    plain = embedded(tiny, prepared(tiny, [Image.open(path)]))
    try:
        changed = embedded(tiny, prepared(tiny, [change(path)]))
    except ValueError:
        changed = None  # such a file's size changes while it is decoded, which is too much for some
    with attach(tiny.model, tiny.processor, VisionFeatureCache()):
        for _ in range(2):
            assert same(embedded(tiny, prepared(tiny, [Image.open(path)])), plain)
            now = embedded(tiny, prepared(tiny, [change(path)]))
            assert changed is None or same(now, changed)


def without_orientation(path: Path) -> Any:
    image = Image.open(path)
    image.getexif().pop(0x0112)
    return image


def set_upright(path: Path) -> Any:
    image = Image.open(path)
    image.getexif()[0x0112] = 1
    return image


@pytest.mark.parametrize("family", ["gemma3", "idefics3", "llava", "phi3_v", "qwen2_5_vl"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw", "jpeg"])
@pytest.mark.parametrize("change", [without_orientation, set_upright])
def test_a_turned_tiff_whose_orientation_is_taken_out_is_as_without_a_cache(
    family: str, compression: str | None, change: Any, tmp_path: Path
) -> None:
    turned, path = Image.Exif(), tmp_path / "photo.tiff"
    turned[0x0112] = 6
    A.resize((256, 192)).save(path, exif=turned, compression=compression)

    def play(scene: Scene) -> list[Any]:
        return [scene.ask(change(path)), scene.ask(str(path)), scene.ask(change(path))]

    assert_alike(family, play)


@pytest.mark.parametrize("family", ["gemma3", "llava", "qwen2_5_vl", "glm4v", "idefics3"])
def test_an_orientation_that_was_set_in_memory_counts_where_the_processor_looks_at_it(family: str) -> None:
    tiny = zoo.build(family)

    def photo() -> Image.Image:
        image = B.copy()
        image.getexif()[0x0112] = 6
        return image

    plain = embedded(tiny, prepared(tiny, [photo()]))
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attached:
        for _ in range(2):
            assert same(embedded(tiny, prepared(tiny, [photo()])), plain)
        assert attached.cache.info().hits == 1


@pytest.mark.parametrize("family", ["gemma3", "llava", "qwen2_5_vl", "phi3_v", "idefics3"])
@pytest.mark.parametrize("block", ["twice", "cut", "noise", "ascii", "9"])
def test_a_picture_with_damaged_exif_is_seen_as_without_a_cache(
    family: str, block: str, tmp_path: Path
) -> None:
    tiny, path = zoo.build(family), tmp_path / "photo.jpg"
    A.save(path, exif=BLOCKS[block])

    def loaded() -> Image.Image:
        image = Image.open(path)
        image.load()
        return image

    def answer(image: Any) -> Any:
        try:
            return embedded(tiny, prepared(tiny, [image]))
        except Exception:  # noqa: BLE001
            return "an error"

    doors = (lambda: str(path), lambda: Image.open(path), loaded, lambda: loaded().copy())
    plain = [answer(door()) for door in doors]
    with attach(tiny.model, tiny.processor, VisionFeatureCache()):
        for _ in range(2):
            for door, expected in zip(doors, plain, strict=True):
                assert same(answer(door()), expected)


# One content, one image ---------------------------------------------------------------------------


def doors_of(path: Path) -> dict[str, Any]:
    data = path.read_bytes()

    def shown(source: Any) -> Image.Image:
        image = Image.open(source)
        image.load()
        return image

    return {
        "path": lambda: str(path),
        "Path": lambda: path,
        "opened": lambda: Image.open(path),
        "opened from memory": lambda: Image.open(io.BytesIO(data)),
        "BytesIO": lambda: io.BytesIO(data),
        "data URI": lambda: "data:image/x;base64," + base64.b64encode(data).decode(),
        "base64": lambda: base64.b64encode(data).decode(),
        "displayed": lambda: shown(path),
        "displayed from memory": lambda: shown(io.BytesIO(data)),
    }


OF_ONE_MODE = {"xbm": "1", "msp": "1", "blp": "P"}
SUFFIXES = [
    "jpg",
    "png",
    "webp",
    "avif",
    "gif",
    "bmp",
    "tiff",
    "jp2",
    "ico",
    "heic",
    "im",
    "qoi",
    *OF_ONE_MODE,
]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_bytes_are_one_entry_one_encode_and_one_decode_by_every_door(
    tmp_path: Path, suffix: str
) -> None:
    if suffix == "heic":
        pillow_heif.register_heif_opener()
    path, tiny, cache = tmp_path / f"photo.{suffix}", zoo.build("qwen2_5_vl"), VisionFeatureCache()
    A.convert(OF_ONE_MODE.get(suffix, "RGB")).save(path)
    with attach(tiny.model, tiny.processor, cache) as attached:
        for door in doors_of(path).values():
            embedded(tiny, prepared(tiny, [door()]))
        counts = attached.stages.totals().counts
    assert (len(cache), counts["tower"], counts["decode"]) == (1, 1, 1)


@pytest.mark.parametrize("suffix", ["webp", "avif", "heic"])
def test_an_opened_file_is_not_decoded_on_a_hit(tmp_path: Path, suffix: str) -> None:
    if suffix == "heic":
        pillow_heif.register_heif_opener()
    path, tiny, cache = tmp_path / f"photo.{suffix}", zoo.build("qwen2_5_vl"), VisionFeatureCache()
    A.save(path)
    assert asked(tiny, cache, Image.open(path)) == (0, 1)
    image = Image.open(path)
    assert asked(tiny, cache, image) == (1, 0)
    assert image._im is None


@pytest.mark.parametrize("family", zoo.families())
def test_a_photo_on_its_side_is_the_same_by_path_and_by_text(tmp_path: Path, family: str) -> None:
    tiny, twin, path, cache = (
        zoo.build(family),
        zoo.build(family),
        tmp_path / "photo.jpg",
        VisionFeatureCache(),
    )
    A.resize((96, 64)).save(path, exif=BLOCKS["6"])
    doors: list[Callable[[], Any]] = [lambda: str(path), lambda: path, lambda: io.BytesIO(path.read_bytes())]

    def answer(asked: zoo.Tiny, door: Callable[[], Any]) -> Any:
        try:
            return embedded(asked, prepared(asked, [door()]))
        except Exception as error:  # noqa: BLE001  # most processors refuse a Path
            return type(error)

    plain = [answer(twin, door) for door in doors]
    with attach(tiny.model, tiny.processor, cache):
        ours = [answer(tiny, door) for door in doors]
    for theirs, own in zip(plain, ours, strict=True):
        if not isinstance(theirs, type):
            assert same(own, theirs)
        elif family == "deepseek_v41":  # its processor takes text, bytes and opened images
            assert own is theirs
        elif family not in OPENING and not isinstance(plain[0], type):
            assert same(own, plain[0])
    if not isinstance(plain[0], type) and family not in OPENING:
        assert len(cache) == 1


def test_a_photo_on_its_side_is_two_images_by_path_and_as_pil_opened_it(tmp_path: Path) -> None:
    path, cache, tiny = tmp_path / "photo.jpg", VisionFeatureCache(), zoo.build("qwen2_5_vl")
    A.save(path, exif=BLOCKS["6"])
    assert asked(tiny, cache, str(path)) == (0, 1)
    assert asked(tiny, cache, Image.open(path)) == (0, 1)
    assert asked(tiny, cache, str(path), Image.open(path)) == (2, 0)


def test_a_displayed_picture_that_was_drawn_on_is_another_image(tmp_path: Path) -> None:
    path, cache, tiny = tmp_path / "photo.jpg", VisionFeatureCache(), zoo.build("qwen2_5_vl")
    A.save(path)
    image = Image.open(path)
    assert asked(tiny, cache, image) == (0, 1)
    image.load()
    assert asked(tiny, cache, image) == (1, 0)
    image.paste((255, 0, 0), (0, 0, 20, 20))
    assert asked(tiny, cache, image) == (0, 1)
    assert asked(tiny, cache, str(path), image) == (2, 0)


def test_a_displayed_picture_is_known_by_its_file_in_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, cache, tiny = tmp_path / "photo.jpg", VisionFeatureCache(), zoo.build("qwen2_5_vl")
    A.save(path)
    asked(tiny, cache, str(path))
    for memory in ("_pixels", "_files", "_headers"):  # as a fresh process has them
        monkeypatch.setattr(f"visioncache.vlm.request.file.{memory}", {})
    image = Image.open(path)
    image.load()
    assert asked(tiny, cache, image) == (1, 0)


def test_a_displayed_picture_is_known_by_its_own_file_among_those_of_equal_pixels(tmp_path: Path) -> None:
    cache, tiny = VisionFeatureCache(), zoo.build("qwen2_5_vl")
    for name in ("a.png", "a.bmp"):
        A.save(tmp_path / name)
        assert asked(tiny, cache, Image.open(tmp_path / name)) == (0, 1)
    for name in ("a.png", "a.bmp"):
        image = Image.open(tmp_path / name)
        image.load()
        assert asked(tiny, cache, image) == (1, 0)
        (tmp_path / name).unlink()
    assert cache.keys()[-1] != cache.keys()[0]
    assert cache.info().hits == 2
    assert {entry.hits for entry in cache.entries()} == {1}


def test_equal_pixels_of_other_bytes_are_another_image(tmp_path: Path) -> None:
    cache, tiny = VisionFeatureCache(), zoo.build("qwen2_5_vl")
    A.save(tmp_path / "a.png")
    A.save(tmp_path / "a.bmp")
    assert asked(tiny, cache, str(tmp_path / "a.png")) == (0, 1)
    assert asked(tiny, cache, str(tmp_path / "a.bmp")) == (0, 1)
    assert asked(tiny, cache, A) == (0, 1)


@pytest.mark.parametrize("family", ["gemma3", "idefics3", "llava", "qwen2_5_vl", "glm4v"])
@pytest.mark.parametrize("door", ["path", "opened", "data URI", "in memory"])
def test_one_image_three_times_in_a_request_is_decoded_and_encoded_once(
    family: str, door: str, tmp_path: Path
) -> None:
    path, tiny = tmp_path / "photo.jpg", zoo.build(family)
    A.save(path)
    give = doors_of(path).get(door, A.copy)
    plain = embedded(tiny, prepared(tiny, [give()] * 3))
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attached:
        image = give()
        assert same(embedded(tiny, prepared(tiny, [image] * 3)), plain)
        counts = attached.stages.totals().counts
    assert (counts["decode"], counts["tower"]) == (1, 1)


def test_pixels_that_equal_images_share_are_copied_before_one_of_them_is_drawn_on(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    A.save(path)
    one, other = (open_source(str(path), transpose=True) for _ in range(2))
    one.paste((255, 0, 0), (0, 0, 20, 20))
    assert other.tobytes() == A.tobytes() != one.tobytes()


def test_a_picture_that_was_drawn_on_while_it_waited_is_not_shared_with_what_it_was() -> None:
    picture = A.copy()
    first, second = (open_source(picture, transpose=False) for _ in range(2))
    picture.paste(B.resize(A.size))
    first.load()
    picture.paste(A)
    third = open_source(picture, transpose=False)
    assert third.tobytes() == A.tobytes()
    assert second.tobytes() == first.tobytes() != A.tobytes()
    assert second.key == first.key != third.key


def test_nothing_is_kept_of_images_that_are_gone(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    A.save(path)
    before = set(sources._decodings)
    source = open_source(str(path), transpose=True)
    assert len(set(sources._decodings) - before) == 1
    source.load()
    assert not set(sources._decodings) - before


def test_what_a_header_tells_is_read_once_for_each_content(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    A.save(path)
    key = open_source(str(path), transpose=True).key
    assert header_of(key, b"not read") is header_of(key, path.read_bytes())


def test_a_file_that_is_decoded_is_turned_only_where_that_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    PHOTO.save(path, exif=BLOCKS["6"])
    data = path.read_bytes()
    key = open_source(str(path), transpose=True).key
    assert decode(key, data, "photo").size == PHOTO.size
    upright = decode(key, data, "photo", transpose=True)
    assert upright.size == PHOTO.size[::-1]
    assert upright.tobytes() == ImageOps.exif_transpose(Image.open(path)).tobytes()


@pytest.mark.parametrize("family", ["gemma3", "idefics3", "llava", "mistral3", "qwen2_5_vl"])
def test_whether_truncated_files_are_images_is_part_of_the_scope(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "truncated.jpg"
    zoo.photos()[0].save(path)
    path.write_bytes(path.read_bytes()[:-300])

    def play(scene: Scene) -> list[Any]:
        answers = []
        for on in (True, True, False, True):
            monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", on)
            answers.append(scene.ask(str(path)))
        return [repr(type(a)) if isinstance(a, Exception) else a for a in answers]

    plain, ours = played(family, play)
    assert all(map(same, plain[:2] + plain[3:], ours[:2] + ours[3:]))
    assert "Error" in plain[2]
    assert "Error" in ours[2]


@pytest.mark.parametrize("family", ["gemma3", "idefics3", "llava", "mistral3", "qwen2_5_vl"])
def test_how_gifs_are_decoded_is_part_of_the_scope(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "transparent.gif"
    A.quantize(8).save(path, transparency=2)

    def play(scene: Scene) -> list[Any]:
        answers = []
        for way in ("RGB_AFTER_FIRST", "RGB_ALWAYS", "RGB_AFTER_FIRST", "RGB_ALWAYS"):
            monkeypatch.setattr(GifImagePlugin, "LOADING_STRATEGY", GifImagePlugin.LoadingStrategy[way])
            shown = Image.open(path)
            shown.load()
            answers += [scene.ask(str(path)), scene.ask(Image.open(path)), scene.ask(shown)]
        return answers

    assert_alike(family, play)
