"""The codec gives back what it got, bit for bit, and takes nothing else for it."""

from __future__ import annotations

import ast
import json
import random
import time
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
import pytest
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from visioncache.stores import codec, header
from visioncache.stores.codec import MAX_DEPTH, decode, encode
from visioncache.stores.header import MAX_HEADER

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator

MUTATIONS = 100_000
GARBAGE = 5_000
DTYPES = [name if name != "bool" else "bool_" for name in header.DTYPES]


def noise(dtype: str, shape: tuple[int, ...], seed: int = 0) -> mx.array:
    """An array of random bits, NaNs and denormals among them."""
    dtype = getattr(mx, dtype)
    count = int(np.prod(shape, dtype=np.int64)) * dtype.size
    bits = np.random.default_rng(seed).integers(0, 2 if dtype == mx.bool_ else 256, count, dtype=np.uint8)
    with mx.stream(mx.cpu):
        array = mx.array(bits).view(dtype).reshape(shape)
        mx.eval(array)
    return array


def same(one: Any, other: Any) -> bool:
    """Tell whether two values are the same tree of arrays, bit for bit."""
    if isinstance(one, mx.array):
        return (
            isinstance(other, mx.array)
            and (one.dtype, one.shape) == (other.dtype, other.shape)
            and memoryview(one).tobytes() == memoryview(other).tobytes()
        )
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[name], other[name]) for name in one)
    if one is None:
        return True
    return len(one) == len(other) and all(map(same, one, other))


shapes = st.lists(st.integers(0, 5), max_size=4).map(tuple)
arrays = st.builds(noise, st.sampled_from(DTYPES), shapes, st.integers(0, 1 << 30))
values = st.recursive(
    st.none() | arrays,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=8,
)
metas = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(value=values, key=st.text(st.characters()), meta=metas)
def test_any_value_comes_back_bit_for_bit_with_its_key_and_meta(
    tally: Counter[str], value: Any, key: Any, meta: Any
) -> None:
    tally["values that hypothesis sent there and back"] += 1
    stored = decode(encode(value, key=key, meta=meta))
    assert same(value, stored.value)
    assert (stored.key, stored.meta) == (key, meta)


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0, 2), (7, 5)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_in_every_kind_of_shape(dtype: str, shape: tuple[int, ...]) -> None:
    value = noise(dtype, shape)
    assert same(value, decode(encode(value, key="s:")).value)


def test_key_texts_with_lone_surrogates_survive() -> None:
    assert decode(encode(mx.zeros(1), key="s:\udcff.jpg")).key == "s:\udcff.jpg"


@pytest.mark.parametrize(
    "lay_out",
    [
        lambda a: a.T,
        lambda a: a[1:3],
        lambda a: a[:, ::2],
        lambda a: a[::-1],
        lambda a: mx.broadcast_to(a[:1], a.shape),
    ],
)
def test_arrays_that_are_not_laid_out_in_rows_come_back_in_rows(
    lay_out: Callable[[mx.array], mx.array],
) -> None:
    value = lay_out(noise("bfloat16", (6, 8)))
    assert same(mx.contiguous(value), decode(encode(value, key="s:")).value)


def test_an_array_that_occurs_twice_is_stored_once_and_is_one_array_again() -> None:
    array = mx.zeros((100, 100))
    data = encode((array, {"again": array}), key="s:")
    first, second = decode(data).value
    assert len(data) < 1.1 * array.nbytes
    assert first is second["again"]


def test_what_is_decoded_does_not_need_the_bytes_any_more() -> None:
    value = noise("float32", (100,))
    data = bytearray(encode(value, key="s:"))
    stored = decode(data)
    data[:] = bytes(len(data))
    assert same(value, stored.value)


def test_the_bytes_are_a_safetensors_file(tmp_path: Path) -> None:
    value = (noise("float32", (3, 4)), noise("int64", (2,)))
    path = tmp_path / "entry.safetensors"
    path.write_bytes(encode(value, key="s:a.jpg"))
    with safe_open(path, "numpy") as file:
        assert file.metadata()["key"] == "s:a.jpg"
        assert [file.get_tensor(name).tobytes() for name in "01"] == [np.array(a).tobytes() for a in value]


def test_what_is_no_feature_value_is_refused_with_what_it_is() -> None:
    for value, found in (
        (np.zeros(3), "ndarray"),
        ("text", "str"),
        ([mx.zeros(1), 3], "int"),
        ({1: mx.zeros(1)}, "1"),
        (object(), "object"),
    ):
        with pytest.raises(TypeError, match=found):
            encode(value, key="s:")


def test_meta_that_json_can_not_hold_is_refused() -> None:
    with pytest.raises(TypeError, match="JSON"):
        encode(mx.zeros(1), key="s:", meta={"x": object()})


def test_what_is_beyond_the_limits_is_refused_when_it_is_encoded() -> None:
    value = mx.zeros(1)
    for _ in range(MAX_DEPTH):
        value = [value]
    encode(value, key="s:")
    with pytest.raises(ValueError, match="nested deeper"):
        encode([value], key="s:")
    with pytest.raises(ValueError, match="arrays"):
        encode([mx.array(i) for i in range(header.MAX_LEAVES + 1)], key="s:")
    with pytest.raises(ValueError, match="beside a value"):
        encode(mx.zeros(1), key="s:", meta="x" * MAX_HEADER)


# Hostile bytes --------------------------------------------------------------------------------------


def seal(data: bytes) -> bytes:
    """The same bytes with the checksum that they should have, so that more than it is tested."""
    start, end = header.SEALED - header.DIGEST, header.SEALED
    hasher = blake3(bytes(data[:8]))
    hasher.update(bytes(data[end:]))
    return bytes(data[:start]) + hasher.hexdigest().encode() + bytes(data[end:])


def forged(*, tensors: Any = None, payload: bytes = b"", **metadata: Any) -> bytes:
    """Bytes with a valid checksum and a header of one's own."""
    fields = {"visioncache": "1", "key": "s:", "meta": "null", "tree": "0"} | metadata
    header = {"__metadata__": {"blake3": "0" * 64} | fields} | (tensors or {})
    text = json.dumps(header, separators=(",", ":")).encode()
    return seal(len(text).to_bytes(8, "little") + text + payload)


def tensor(dtype: str = "U8", shape: tuple[int, ...] = (4,), offsets: Any = (0, 4)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


ONE = {"0": tensor()}


def test_a_forged_value_that_is_in_order_is_read() -> None:
    assert decode(forged(tensors=ONE, payload=b"abcd")).value.tolist() == [97, 98, 99, 100]


def header_with(raw: bytes) -> bytes:
    return seal(len(raw).to_bytes(8, "little") + raw)


PREFIX = header.START + b"0" * 64 + b'"'

HOSTILE = {
    "nothing": b"",
    "eight bytes": b"\0" * 8,
    "a header beyond the end": b"\xff" * 8 + encode(mx.zeros(1), key="s:")[8:],
    "a header of the largest length": (2**63 - 1).to_bytes(8, "little") + encode(mx.zeros(1), key="s:")[8:],
    "another layout": forged(tensors=ONE, payload=b"abcd", visioncache="2"),
    "metadata that are no text": forged(tensors=ONE, payload=b"abcd", key=3),
    "more metadata": forged(tensors=ONE, payload=b"abcd", more="x"),
    "a huge shape": forged(tensors={"0": tensor(shape=[2**31 - 1] * 16)}, payload=b"abcd"),
    "an axis of 2**62": forged(tensors={"0": tensor(shape=[2**62], offsets=[0, 2**62])}, payload=b"abcd"),
    "an empty array with a huge axis": forged(tensors={"0": tensor(shape=[0, 2**40], offsets=[0, 0])}),
    "a hundred axes": forged(tensors={"0": tensor(shape=[1] * 100, offsets=[0, 1])}, payload=b"a"),
    "a negative axis": forged(tensors={"0": tensor(shape=[-2, -2])}, payload=b"abcd"),
    "a shape of booleans": forged(tensors={"0": tensor(shape=[True, 4])}, payload=b"abcd"),
    "a fractional shape": forged(tensors={"0": tensor(shape=[4.0])}, payload=b"abcd"),
    "offsets beyond the end": forged(tensors={"0": tensor(shape=[9], offsets=[0, 9])}, payload=b"abcd"),
    "offsets backwards": forged(tensors={"0": tensor(shape=[0], offsets=[4, 0])}, payload=b"abcd"),
    "a gap": forged(tensors={"0": tensor(shape=[2], offsets=[2, 4])}, payload=b"abcd"),
    "an overlap": forged(tensors={"0": tensor(), "1": tensor()}, payload=b"abcd", tree='["tuple",0,1]'),
    "bytes left over": forged(tensors=ONE, payload=b"abcdefgh"),
    "an unknown dtype": forged(tensors={"0": tensor(dtype="F8_E4M3")}, payload=b"abcd"),
    "a dtype that is no text": forged(tensors={"0": tensor(dtype=["U8"])}, payload=b"abcd"),
    "a tensor of another name": forged(tensors={"weights": tensor()}, payload=b"abcd"),
    "a tensor that is a list": forged(tensors={"0": [1, 2]}, payload=b"abcd"),
    "a tensor that nothing refers to": forged(tensors=ONE, payload=b"abcd", tree="null"),
    "a tree that refers to nothing": forged(tree="0"),
    "a tree of a negative tensor": forged(tensors=ONE, payload=b"abcd", tree="-1"),
    "a tree of a boolean": forged(tensors=ONE, payload=b"abcd", tree='["tuple",0,false]'),
    "a tree of an unknown type": forged(tensors=ONE, payload=b"abcd", tree='["os.system",0]'),
    "a tree that is text": forged(tensors=ONE, payload=b"abcd", tree='"0"'),
    "a tree that is no JSON": forged(tensors=ONE, payload=b"abcd", tree="(0)"),
    "a tree 33 deep": forged(tensors=ONE, payload=b"abcd", tree='["list",' * 33 + "0" + "]" * 33),
    "a tree 100,000 deep": forged(tensors=ONE, payload=b"abcd", tree="[" * 100_000),
    "meta 100,000 deep": forged(tensors=ONE, payload=b"abcd", meta='{"a":' * 100_000),
    "a number of a million digits": forged(tensors=ONE, payload=b"abcd", meta="9" * 1_000_000),
    "a name twice": header_with(
        PREFIX + b',"key":"s:","key":"l:","visioncache":"1","meta":"null","tree":"null"}}'
    ),
    "a header 100,000 deep": header_with(PREFIX + b',"key":' + b"[" * 100_000),
    "a header that is no UTF-8": header_with(PREFIX + b',"key":"\xff\xfe"}}'),
    "a header without metadata": header_with(PREFIX.replace(b"__metadata__", b"__metadatum_") + b"}}"),
    "a million tensors": header_with(
        PREFIX + b"}," + b",".join(b'"%d":0' % index for index in range(700_000)) + b"}"
    ),
    "a header of eight megabytes of lists": header_with(PREFIX + b',"key":[' + b"[]," * 2_700_000 + b"0]}}"),
    "a header that is too long": header_with(PREFIX + b',"key":"' + b"x" * MAX_HEADER + b'"}}'),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_bytes_are_a_value_error_in_bounded_time_and_memory(what: str, tally: Counter[str]) -> None:
    tally["hostile files, each by hand"] += 1
    tracemalloc.start()
    start = time.process_time()
    with pytest.raises(ValueError, match=r"stored value"):
        decode(HOSTILE[what])
    spent = time.process_time() - start
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert spent < 20  # tracing slows this down tenfold
    assert peak < 600 << 20


def test_a_value_is_damaged_when_any_byte_is(tally: Counter[str]) -> None:
    data = encode((noise("bfloat16", (3, 5)), None), key="s:a.jpg", meta={"x": 1})
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0x40
        with pytest.raises(ValueError, match="stored value"):
            decode(bytes(damaged))
    tally["damaged bytes, each found"] += len(data)


def test_a_value_is_torn_wherever_it_ends(tally: Counter[str]) -> None:
    data = encode(noise("float16", (3, 5)), key="s:a.jpg")
    for length in range(len(data)):
        torn = data[:length]
        for candidate in (torn, seal(torn)) if length >= header.SEALED else (torn,):
            with pytest.raises(ValueError, match="stored value"):
                decode(candidate)
            tally["truncations, each found"] += 1


def mutated(rng: random.Random, data: bytes) -> bytes:
    """A few changes of the kinds that break parsers."""
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 4])):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(7)
        if kind == 0 and at < len(data):
            data[at] = rng.randrange(256)
        elif kind == 1:
            data[at : at + rng.randrange(9)] = b""
        elif kind == 2:
            data[at:at] = rng.choice([b"[", b"{", b'"', b",", b"9" * 30, b"-1", b"null", b"\xff", b"\0" * 8])
        elif kind == 3:
            data[:8] = rng.choice([len(data), 0, 8, 2**31, 2**63, rng.randrange(1 << 16)]).to_bytes(
                8, "little"
            )
        elif kind == 4:
            end = at + rng.randrange(40)
            data[at:at] = data[at:end]
        elif kind == 5 and (digits := [i for i, byte in enumerate(data[8:600], 8) if 48 <= byte < 58]):
            data[rng.choice(digits)] = 48 + rng.randrange(10)
        else:
            del data[rng.randrange(len(data) + 1) :]
    return bytes(data)


def test_mutations_of_valid_values_are_a_value_error_or_a_value(tally: Counter[str]) -> None:
    """Sealed anew, so that the checksum does not hide the rest; a crash of any other kind fails."""
    rng = random.Random(7)
    seeds = [
        encode(noise("bfloat16", (2, 3)), key="s:a"),
        encode((noise("float32", ()), None, [noise("bool_", (0,))]), key="@1:xs:a", meta={"a": [1, None]}),
        encode({"x": noise("int8", (5,)), "y": (noise("complex64", (1,)),)}, key="l:1:a"),
    ]
    read = 0
    for _ in range(MUTATIONS):
        data = mutated(rng, rng.choice(seeds))
        data = seal(data) if len(data) >= header.SEALED else data
        try:
            mx.eval(list(codec_leaves(decode(data).value)))
        except ValueError:
            continue
        read += 1
    tally["fuzzed inputs to the codec"] += MUTATIONS
    assert 0 < read < MUTATIONS / 2


def codec_leaves(value: Any) -> Iterator[mx.array]:
    if isinstance(value, mx.array):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from codec_leaves(item)
    elif isinstance(value, dict):
        yield from codec_leaves(list(value.values()))


def test_garbage_is_a_value_error(tally: Counter[str]) -> None:
    rng = random.Random(8)
    for _ in range(GARBAGE):
        data = rng.randbytes(rng.randrange(300))
        for candidate in (data, len(data).to_bytes(8, "little") + PREFIX + data):
            with pytest.raises(ValueError, match="stored value"):
                decode(seal(candidate) if len(candidate) >= header.SEALED else candidate)
    tally["fuzzed inputs to the codec"] += 2 * GARBAGE


@settings(max_examples=1000, deadline=None)
@given(
    tree=st.recursive(
        st.none() | st.integers(-2, 3) | st.booleans() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=10,
    ),
    shape=st.lists(st.integers(-1, 5), max_size=3),
    offsets=st.lists(st.integers(-1, 9), min_size=1, max_size=3),
    dtype=st.sampled_from(["U8", "BF16", "F64", "X"]),
)
def test_headers_of_any_shape_are_a_value_error_or_a_value(
    tally: Counter[str], tree: Any, shape: tuple[int, ...], offsets: Any, dtype: str
) -> None:
    tally["fuzzed inputs to the codec"] += 1
    tensors = {"0": tensor(dtype, shape, offsets)}
    try:
        decode(forged(tensors=tensors, payload=b"abcdefgh", tree=json.dumps(tree)))
    except ValueError as error:
        assert "stored value" in str(error)  # noqa: PT017  # a value is fine too


def test_nothing_here_can_run_what_it_reads() -> None:
    forbidden = {
        "pickle",
        "marshal",
        "shelve",
        "eval",
        "exec",
        "compile",
        "__import__",
        "dill",
        "cloudpickle",
    }
    for path in Path(codec.__file__).parent.glob("*.py"):
        names = {
            name
            for node in ast.walk(ast.parse(path.read_text()))
            for name in (
                getattr(node, "id", None),
                getattr(node, "module", None),
                getattr(node, "name", None),
            )
        }
        assert not names & forbidden, path
