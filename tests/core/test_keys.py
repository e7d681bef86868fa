"""Key: distinct sources never share one, equal content always does, a file is what it holds now."""

from __future__ import annotations

import array
import copy
import mmap
import os
import pickle
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImagePalette

from visioncache import Key

if TYPE_CHECKING:
    from pathlib import Path

LONG_AGO = 1_600_000_000_000_000_123  # ns; not a whole second

TEXT = st.text(st.characters(exclude_categories=()), max_size=6)  # lone surrogates too
LOOKALIKE = st.one_of(TEXT, st.text("sl:@mb|01,", max_size=8))


# Encodings ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (Key.from_source("a.jpg"), "s:a.jpg"),
        (Key.from_source(""), "s:"),
        (Key.from_source("l:1:x"), "s:l:1:x"),
        (Key.from_sources([]), "l:"),
        (Key.from_sources(["x"]), "l:1:x"),
        (Key.from_sources(["a|b"]), "l:3:a|b"),
        (Key.from_sources(["a", "b"]), "l:1:a1:b"),
        (Key.from_sources(["é", ""]), "l:2:é0:"),
        (Key.from_sources(["\ud800"]), "l:3:\ud800"),
        (Key.of(["a", b""]), f"m:3:s:a34:b:{blake3(b'').hexdigest(length=16)}"),
        (Key.of([["a"]]), "m:5:l:1:a"),
        (Key.of(("a", "b")), "l:1:a1:b"),
        (Key.from_bytes(b"jpeg"), f"b:{blake3(b'jpeg').hexdigest(length=16)}"),
        (Key.from_source("x").scoped("qwen"), "@4:qwens:x"),
        (Key.from_source("x").scoped("é").scoped("b"), "@1:b@2:és:x"),
    ],
)
def test_the_text_of_a_key_is_the_documented_encoding(key: Key, text: str) -> None:
    assert key.text == text
    assert key == Key(text)


def test_the_sources_that_share_a_key_in_mlx_vlm_do_not_share_one_here() -> None:
    tall, wide = Image.new("RGB", (30, 150), "red"), Image.new("RGB", (150, 30), "red")
    assert Key.of(tall) != Key.of(wide)
    assert Key.of(Image.new("L", (4, 4))) != Key.of(Image.new("P", (4, 4)))
    assert Key.of(["a|b"]) != Key.of(["a", "b"])
    assert Key.of("x") != Key.of(["x"])
    assert Key.of(["a", "b"]) != Key.of(["b", "a"])


@pytest.mark.parametrize("unknown", [None, 5, 1.5, {"a": 1}, {"a"}, object(), lambda: 0, ["a", None], [[5]]])
def test_what_identifies_no_image_is_a_type_error_that_names_it_and_what_is_accepted(unknown: Any) -> None:
    with pytest.raises(TypeError, match="accepted: a Key, str, Path, bytes-like, PIL image"):
        Key.of(unknown)


def test_one_string_is_not_a_list_of_its_letters() -> None:
    with pytest.raises(TypeError, match="from_source"):
        Key.from_sources("ab")  # type: ignore[arg-type]


def test_a_constructor_names_what_it_was_given_instead() -> None:
    with pytest.raises(TypeError, match="a source is text, not int; Key.of takes images too"):
        Key.from_source(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="str is no PIL image"):
        Key.from_image("cat.png")
    with pytest.raises(TypeError, match="a scope is text, not int"):
        Key.of("cat.png").scoped(3)  # type: ignore[arg-type]


def test_text_that_no_constructor_makes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Key\.of\('photo\.jpg'\)"):
        Key("photo.jpg")


# Injectivity, within constructors and across them ------------------------------------------------

BYTES = st.binary(max_size=6).map(lambda data: ("bytes", data))
STRINGS = LOOKALIKE.map(lambda text: ("str", text))
MODES = st.sampled_from(["1", "L", "P", "LA", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "I;16", "I", "F"])


@pytest.mark.parametrize(
    "text",
    [
        "@",
        "@s:x",
        "@x",
        "@3:abc",
        "@-1:s:a",
        "@1_0:aaaaaaaaaas:x",
        "@1:\u00e9s:x",
        "@1:a@1:b",
        "@1:aphoto.jpg",
    ],
)
def test_text_with_a_broken_scope_is_no_key(text: str) -> None:
    with pytest.raises(ValueError, match="is not the text of a key"):
        Key(text)


@st.composite
def images(draw: st.DrawFn) -> tuple[str, Any]:
    mode, width, height = draw(MODES), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    image = Image.new(mode, (width, height))
    image.frombytes(bytes([draw(st.sampled_from([0, 65]))]) * len(image.tobytes()))
    colours: tuple[Any, ...] = ()
    if mode in ("P", "PA"):
        palette = draw(st.sampled_from(["RGB", "RGBA"])), draw(st.sampled_from([b"", b"A", b"AAA", b"AAAA"]))
        image.palette = ImagePalette.ImagePalette(palette[0], palette[1])
        colours = palette
    return "image", (mode, width, height, image.tobytes(), colours), image  # type: ignore[return-value]


@st.composite
def arrays(draw: st.DrawFn) -> tuple[str, Any]:
    shape = tuple(draw(st.lists(st.integers(0, 3), max_size=3)))
    dtype = draw(st.sampled_from(["bool", "uint8", "int8", "uint16", "float16", "float32", "complex64"]))
    value = np.full(shape, draw(st.sampled_from([0, 1])), dtype)
    return "array", (str(value.dtype), shape, value.tobytes()), value  # type: ignore[return-value]


def _identity(source: Any) -> tuple[Any, Any]:
    """Return a drawn source, comparable, and the object to key."""
    if isinstance(source, list):
        parts = [_identity(item) for item in source]
        return ("list", tuple(part[0] for part in parts)), [part[1] for part in parts]
    return source[:2], source[-1]


SINGLES = st.one_of(STRINGS, BYTES, images(), arrays())
SOURCES = st.recursive(SINGLES, lambda inner: st.lists(inner, max_size=3), max_leaves=4)


@given(SOURCES, SOURCES)
def test_two_sources_share_a_key_exactly_when_they_are_the_same(one: Any, other: Any) -> None:
    (what, source), (what_else, other_source) = _identity(one), _identity(other)
    assert (Key.of(source) == Key.of(other_source)) == (what == what_else)


@given(st.lists(LOOKALIKE, max_size=4), st.lists(LOOKALIKE, max_size=4))
def test_lists_of_strings_share_a_key_only_when_equal(one: list[str], other: list[str]) -> None:
    assert (Key.from_sources(one) == Key.from_sources(other)) == (one == other)


@given(LOOKALIKE, LOOKALIKE, LOOKALIKE, LOOKALIKE)
def test_scopes_and_sources_never_run_into_each_other(
    scope: str, source: str, scope2: str, source2: str
) -> None:
    one, other = Key.of(source).scoped(scope), Key.of(source2).scoped(scope2)
    assert (one == other) == ((scope, source) == (scope2, source2))
    assert one != Key.of(one.text)
    assert one.scoped(scope2) != Key.of(source).scoped(scope2 + scope)


@given(LOOKALIKE, LOOKALIKE)
def test_a_scoped_key_gives_back_its_scope_and_what_it_was_made_of(scope: str, source: str) -> None:
    key = Key.of(source).scoped(scope)
    assert (key.scope, key.unscoped) == (scope, Key.of(source))
    assert (key.unscoped.scope, key.unscoped.unscoped) == (None, key.unscoped)
    assert key.scoped("outer").unscoped == key


# Content -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 1000, (1 << 20) - 1, 1 << 20, (3 << 20) + 1])
def test_bytes_are_identified_by_blake3_whatever_holds_them_and_however_many_threads_hash(size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    expected = Key(f"b:{blake3(data).hexdigest(length=16)}")
    assert Key.of(data) == Key.of(bytearray(data)) == Key.of(memoryview(data)) == expected
    assert Key.from_bytes(array.array("B", data)) == expected
    assert Key.of(memoryview(data[::-1])[::-1]) == expected


@pytest.mark.parametrize(
    "dtype", ["float32", "float16", "uint8", "int32", "uint16", "bool", "int64", "complex64"]
)
def test_numpy_and_mlx_arrays_of_equal_content_share_a_key(dtype: str) -> None:
    values = np.arange(12).reshape(3, 4).astype(dtype)
    assert Key.of(values) == Key.of(mx.array(values))


def test_bfloat16_has_keys_of_its_own() -> None:
    values = mx.arange(12).astype(mx.bfloat16)
    assert Key.of(values) == Key.of(mx.arange(12).astype(mx.bfloat16))
    assert Key.of(values) != Key.of(values.view(mx.uint16))
    assert Key.of(values) != Key.of(values.view(mx.float16))


def test_lazy_strided_and_contiguous_arrays_of_equal_content_share_a_key() -> None:
    values = np.arange(24, dtype=np.float32).reshape(4, 6)
    assert Key.of(values[::2, ::-1]) == Key.of(np.ascontiguousarray(values[::2, ::-1]))
    assert Key.of(np.asfortranarray(values)) == Key.of(values)
    assert Key.of(mx.array(values) * 1 + 0) == Key.of(values)
    assert Key.of(mx.array(values).T) == Key.of(values.T)


def test_an_array_in_the_other_byte_order_is_known_by_its_values_not_by_its_bytes() -> None:
    values = np.arange(1, 5, dtype="<u2")
    assert Key.of(values.astype(">u2")) == Key.of(values)
    assert Key.of(values.view(">u2")) != Key.of(values)


def test_shape_and_dtype_tell_arrays_of_equal_bytes_apart() -> None:
    shapes: list[tuple[Any, str]] = [
        *[((2, 2), "f4"), (4, "f4"), ((4, 1), "f4"), ((2, 2), "i4"), (2, "f8"), (2, "M8[s]"), (2, "M8[ms]")],
        *[((), "f8"), (1, "f8"), (0, "f4"), ((0, 2), "f4"), (16, "?"), (16, "u1"), (1, "c16")],
    ]
    zeros = [np.zeros(shape, dtype) for shape, dtype in shapes]
    assert len({Key.of(array) for array in zeros}) == len(zeros)


@pytest.mark.parametrize(
    "opaque",
    [
        np.array([object()]),
        np.zeros(2, dtype=[("x", "f4"), ("y", "f4")]),
        np.ma.array([1, 2], mask=[False, True]),
    ],
)
def test_an_array_that_is_more_than_its_bytes_is_refused(opaque: Any) -> None:
    with pytest.raises(TypeError, match="no plain bytes"):
        Key.of(opaque)


def test_palettes_of_different_modes_never_run_into_their_colours() -> None:
    # "RGB" + b"A..." reads the same as "RGBA" + b"...".
    image, other = Image.new("P", (4, 4)), Image.new("P", (4, 4))
    image.putpalette(b"A12345678", "RGB")
    other.putpalette(b"12345678", "RGBA")
    assert Key.of(image) != Key.of(other)


def test_the_palette_is_part_of_an_image_and_its_file_name_is_not(tmp_path: Path) -> None:
    red, blue = Image.new("P", (4, 4)), Image.new("P", (4, 4))
    red.putpalette([255, 0, 0])
    blue.putpalette([0, 0, 255])
    assert Key.of(red) != Key.of(blue)
    names = [tmp_path / "one.gif", tmp_path / "two.gif"]
    for name in names:
        red.save(name)
    one, two = (Key.of(Image.open(name)) for name in names)
    assert one == two
    assert one.text.startswith("i:")


def test_an_image_that_was_only_opened_has_the_key_of_its_pixels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    image.save(tmp_path / "a.png")
    assert Key.of(Image.open(tmp_path / "a.png")) == Key.of(image)
    assert Key.of(image.convert("L")) != Key.of(image)
    other = image.copy()
    other.putpixel((6, 8), (0, 0, 0))
    assert Key.of(other) != Key.of(image)


# Between threads and processes -------------------------------------------------------------------


def test_a_key_is_immutable_hashable_and_its_own_copy() -> None:
    key = Key.of("a")
    for change in (lambda: setattr(key, "text", "s:b"), lambda: delattr(key, "text")):
        with pytest.raises(AttributeError, match="immutable"):
            change()
    with pytest.raises(AttributeError):
        key.other = 1  # type: ignore[attr-defined]
    assert copy.copy(key) is key
    assert copy.deepcopy([key])[0] is key
    assert {key: 1}[Key.of("a")] == 1
    assert key != "s:a"
    assert eval(repr(key)) == key  # noqa: S307


@given(SOURCES, st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_a_pickled_key_is_the_same_key(source: Any, protocol: int) -> None:
    key = Key.of(_identity(source)[1]).scoped("model")
    assert pickle.loads(pickle.dumps(key, protocol)) == key  # noqa: S301


def test_another_process_makes_the_same_keys() -> None:
    code = (
        "import numpy as np; from PIL import Image; from visioncache import Key; "
        "print(Key.of(['a', b'b', np.arange(9.0), Image.new('RGB', (9, 7), 'red')]).text)"
    )
    output = subprocess.run(  # our own interpreter
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": "1"},
    ).stdout
    mine = Key.of(["a", b"b", np.arange(9.0), Image.new("RGB", (9, 7), "red")])
    assert output.strip() == mine.text


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_hashes_large_content_too() -> None:
    large = bytes(4 << 20)
    expected = Key.of(large)  # starts the hash's thread pool, which the child does not have
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(5)
        os._exit(0 if Key.of(large) == expected else 1)
    assert os.waitpid(child, 0)[1] == 0


# Files -------------------------------------------------------------------------------------------


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A file whose write was long ago, by its times."""
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"first content")
    return path


def test_a_file_is_identified_by_its_content_not_its_name(tmp_path: Path, photo: Path) -> None:
    copied = tmp_path / "copy.png"
    copied.write_bytes(photo.read_bytes())
    assert Key.from_file(photo) == Key.of(photo) == Key.of(copied) == Key.from_file(os.fspath(photo))
    assert Key.of(photo).text == f"f:{blake3(photo.read_bytes()).hexdigest(length=16)}"
    assert Key.of(photo) != Key.from_bytes(photo.read_bytes())
    assert Key.of(photo) != Key.of(os.fspath(photo))


def test_a_file_overwritten_at_once_with_as_many_bytes_is_another_image(photo: Path) -> None:
    seen = set()
    for number in range(200):
        photo.write_bytes(b"%04d" % number)
        seen.add(Key.of(photo))
    assert len(seen) == 200


def test_a_file_that_is_overwritten_is_another_image_whatever_its_times_say(photo: Path) -> None:
    before = Key.of(photo)
    times = photo.stat().st_atime_ns, photo.stat().st_mtime_ns
    photo.write_bytes(b"other content")
    os.utime(photo, ns=times)  # as rsync and cp -p do: same size, same mtime
    assert Key.of(photo) != before


def test_a_file_that_its_writer_has_mapped_is_another_image_before_its_times_tell(photo: Path) -> None:
    with photo.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        before = Key.of(photo)
        status = photo.stat()
        for number in range(9):
            mapped[:1] = b"%d" % number
            os.utime(photo, ns=(status.st_atime_ns, status.st_mtime_ns))
            assert Key.of(photo) == Key("f:" + blake3(bytes(mapped)).hexdigest(length=16)) != before


def test_a_file_that_is_replaced_by_renaming_is_another_image(tmp_path: Path, photo: Path) -> None:
    before = Key.of(photo)
    other = tmp_path / "other"
    other.write_bytes(b"newer content")
    os.utime(other, ns=(photo.stat().st_atime_ns, photo.stat().st_mtime_ns))
    other.replace(photo)
    assert Key.of(photo) != before


def test_a_touched_file_is_the_same_image(photo: Path) -> None:
    before = Key.of(photo)
    os.utime(photo, ns=(LONG_AGO, LONG_AGO))
    assert Key.of(photo) == before


def test_a_link_is_the_image_that_it_points_to_now(tmp_path: Path, photo: Path) -> None:
    other, link = tmp_path / "other.jpg", tmp_path / "link.jpg"
    other.write_bytes(b"other content")
    link.symlink_to(photo)
    assert Key.of(photo) == Key.of(link)
    link.unlink()
    link.symlink_to(other)
    assert Key.of(link) == Key.of(other) != Key.of(photo)


def test_a_file_that_is_not_there_is_an_error_that_names_it_even_when_it_was(photo: Path) -> None:
    Key.of(photo)
    photo.unlink()
    with pytest.raises(FileNotFoundError, match=r"photo\.jpg"):
        Key.of(photo)


# Arrays by protocol -------------------------------------------------------------------------------


class Tensor:
    """Show to numpy what torch.Tensor shows."""

    def __init__(self, array: Any) -> None:
        self.array, self.shape, self.dtype, self.ndim = array, array.shape, f"torch.{array.dtype}", array.ndim

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.array if dtype is None else self.array.astype(dtype)


class Interfaced:
    """An array by `__array_interface__` alone."""

    def __init__(self, array: Any) -> None:
        self.array = array
        self.__array_interface__ = array.__array_interface__


class Capsuled:
    """An array by DLPack alone."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


@pytest.mark.parametrize("kind", [Tensor, Interfaced, Capsuled])
def test_an_array_by_protocol_is_identified_by_its_numbers_and_its_class(kind: Any) -> None:
    numbers = np.arange(12, dtype=np.uint8).reshape(3, 4)
    key = Key.of(kind(numbers))
    assert key == Key.of(kind(numbers.copy()))
    assert key.text.startswith("a:")
    others = [numbers, kind(numbers.reshape(4, 3)), kind(numbers + 1), kind(numbers.astype(np.int8))]
    assert key not in map(Key.of, others)


def test_the_classes_of_arrays_by_protocol_do_not_meet() -> None:
    numbers = np.arange(12, dtype=np.uint8)
    assert len({Key.of(kind(numbers)) for kind in (np.asarray, Tensor, Interfaced, Capsuled)}) == 4


def test_an_array_by_protocol_without_plain_numbers_is_refused_in_one_line() -> None:
    class Elsewhere:
        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            raise TypeError("can't convert mps:0 device type tensor to numpy")

    with pytest.raises(TypeError, match="Elsewhere gives no numbers to identify it by: can't convert mps:0"):
        Key.of(Elsewhere())
    with pytest.raises(TypeError, match="Tensor of dtype object has no plain bytes"):
        Key.of(Tensor(np.array([{}])))
    for no_array in (np.ndarray, np.float32(3), Tensor):
        with pytest.raises(TypeError, match="does not identify an image"):
            Key.of(no_array)


# Damaged EXIF -------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [b"Exif\0\0Exif\0\0II*\0", b"II*\0", b"\xff" * 9, b"no EXIF"])
def test_a_decoded_picture_with_damaged_exif_has_a_key_and_is_left_as_it_was(block: bytes) -> None:
    picture = Image.new("RGB", (4, 3))
    picture.info["exif"] = block
    assert Key.of(picture) == Key.of(picture) == Key.of(Image.new("RGB", (4, 3)))
    assert picture._exif is None
    picture.info = {"Raw profile type exif": "\nexif\n 4\nno digits"}
    assert Key.of(picture) == Key.of(Image.new("RGB", (4, 3)))


@pytest.mark.parametrize("value", [0, 9, 65535, "6", b"\6", (6, 1), [6]])
def test_an_orientation_that_turns_nothing_is_none(value: Any) -> None:
    picture = Image.new("RGB", (4, 3))
    picture.getexif()[0x0112] = value
    assert Key.of(picture) == Key.of(Image.new("RGB", (4, 3)))
    picture.getexif()[0x0112] = 6
    assert Key.of(picture) != Key.of(Image.new("RGB", (4, 3)))
