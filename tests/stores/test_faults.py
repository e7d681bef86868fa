"""Faults of a disk are a miss, an event and one warning; never an error in a cell."""

from __future__ import annotations

import mmap
import os
import resource
import shutil
import subprocess
import sys
import threading
import warnings
from typing import TYPE_CHECKING

import mlx.core as mx
import pytest

from visioncache import Key, VisionFeatureCache
from visioncache.stores import DiskStore, StoreError, StoreWarning, encode
from visioncache.stores.base import name_of

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator
    from pathlib import Path

KEY = Key.from_source("a.jpg")


def features(size: int = 100_000) -> mx.array:
    array = mx.random.normal((size,)).astype(mx.bfloat16)
    mx.eval(array)
    return array


def store_errors(cache: VisionFeatureCache) -> list[str]:
    return [event.label for event in cache.events if event.kind == "store-error"]


def file_of(folder: Path, key: Key = KEY) -> Path:
    return folder / "entries" / name_of(key)[:2] / f"{name_of(key)}.safetensors"


def put_closed(folder: Path, source: str = "a.jpg") -> mx.array:
    """A value in a folder that no cache has open."""
    value = features(1000)
    cache = VisionFeatureCache(store=folder)
    cache.put(source, value)
    assert cache.close()
    return value


def mounted(*command: str) -> bool:
    """Tell whether a mount succeeded: only root can, in most places."""
    return (
        shutil.which("mount") is not None
        and subprocess.run(command, check=False, capture_output=True).returncode == 0
    )


def test_a_fault_is_no_error_even_where_warnings_are(tmp_path: Path) -> None:
    put_closed(tmp_path)
    file_of(tmp_path).write_bytes(b"damaged")
    cache = VisionFeatureCache(store=tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cache.get("a.jpg") is None
    assert len(store_errors(cache)) == 1


@pytest.fixture
def small_disk(tmp_path: Path, tally: Counter[str]) -> Iterator[Path]:
    """A real file system of one megabyte."""
    path = tmp_path / "disk"
    path.mkdir()
    if not mounted("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(path)):
        tally["NOT COVERED: a full disk (mounting one needs root); a file-size limit stands for it"] += 1
        pytest.skip("mounting a small disk needs root; the test with a file-size limit runs")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.fixture
def read_only(tally: Counter[str]) -> Iterator[Callable[[Path], None]]:
    """Make a folder one that can't be written, in a way that holds for root too."""
    undo = []

    def protect(path: Path) -> None:
        if os.geteuid() != 0:
            for folder in (path, *path.rglob("*")):
                folder.chmod(0o500 if folder.is_dir() else 0o400)
                undo.append(lambda folder=folder: folder.chmod(0o700))
        elif mounted("mount", "--bind", str(path), str(path)):
            undo.append(lambda: subprocess.run(["umount", "-l", str(path)], check=True))
            assert mounted("mount", "-o", "remount,ro,bind", str(path))
        else:
            tally["NOT COVERED: a read-only folder (root without mount)"] += 1
            pytest.skip("root can write everywhere here")

    yield protect
    for step in reversed(undo):
        step()


def test_a_full_disk_costs_nothing_but_the_store(small_disk: Path, tally: Counter[str]) -> None:
    cache = VisionFeatureCache(store=small_disk / "features")
    with pytest.warns(StoreWarning, match="No space left") as warned:
        for number in range(20):
            assert cache.put(str(number), features())
            assert cache.flush(60)
    assert len(warned) == 1
    assert len(cache) == 20
    info = cache.info().store
    assert 0 < info.writes < 10
    assert info.errors == len(store_errors(cache)) == 20 - info.writes
    assert all(cache.get(str(number)) is not None for number in range(20))
    # What was written is whole, what was not is absent, and nothing unfinished fills the disk.
    store = DiskStore(small_disk / "features")
    sound = sum(1 for n in range(20) if (found := store.get(Key.of(str(n)))) and len(found) > 200_000)
    assert sound == info.writes
    assert [p for p in (small_disk / "features/writers").rglob("*") if p.is_file()] == []
    tally["faults of a disk: full"] += info.errors
    # Once there is room, it goes on.
    cache.clear()
    cache.put("after", features(1000))
    assert cache.flush(60)
    assert DiskStore(small_disk / "features").get(Key.of("after")) is not None


LIMITED = """
import resource, signal, sys, warnings, mlx.core as mx
from visioncache import VisionFeatureCache
from visioncache.stores import StoreWarning
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
cache = VisionFeatureCache(store=sys.argv[1])
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    cache.put("small", mx.zeros(1000))
    for number in range(5):
        cache.put(str(number), mx.zeros(100_000))
    cache.flush(60)
assert [w.category for w in caught] == [StoreWarning], caught
assert (cache.info().store.writes, cache.info().store.errors) == (1, 5), cache.info()
assert all(cache.get(str(number)) is not None for number in range(5))
"""


def test_files_that_the_system_cuts_short_are_not_entries(tmp_path: Path, tally: Counter[str]) -> None:
    subprocess.run([sys.executable, "-c", LIMITED, str(tmp_path / "f")], check=True, timeout=60)
    assert len(DiskStore(tmp_path / "f")) == 1
    tally["faults of a disk: a write cut short"] += 5


def test_a_folder_that_may_only_be_read_is_read(
    tmp_path: Path, read_only: Callable[[Path], None], tally: Counter[str]
) -> None:
    value = put_closed(tmp_path / "f")
    read_only(tmp_path / "f")
    cache = VisionFeatureCache(store=tmp_path / "f")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = cache.get("a.jpg")
    assert memoryview(found).tobytes() == memoryview(value).tobytes()
    with pytest.warns(StoreWarning, match="put: ") as warned:
        for number in range(5):
            assert cache.put(str(number), features(100))
        cache.flush(60)
    assert len(warned) == 1
    assert cache.info().store.errors == len(store_errors(cache)) == 5
    tally["faults of a disk: read-only"] += 5


def test_a_folder_that_can_not_be_made_is_reported_when_it_is_needed(
    tmp_path: Path, tally: Counter[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = VisionFeatureCache(store=tmp_path / "file" / "features")
    with pytest.warns(StoreWarning) as warned:
        for _ in range(3):
            assert cache.get("a.jpg") is None
            assert cache.put("b.jpg", features(10))
        cache.flush(60)
    assert sorted({str(w.message).partition(" failed: ")[2][:3] for w in warned}) == ["get", "put"]
    assert len(warned) == 2
    tally["faults of a disk: no folder"] += 6


def test_a_folder_that_is_deleted_underneath_is_a_miss_and_is_made_again(
    tmp_path: Path, tally: Counter[str]
) -> None:
    folder = tmp_path / "f"
    cache = VisionFeatureCache(max_size=1, store=folder)
    cache.put("a.jpg", features(1000))
    cache.put("b.jpg", features(1000))
    cache.flush(60)
    shutil.rmtree(folder)
    with pytest.warns(StoreWarning, match="is gone") as warned:
        assert cache.get("a.jpg") is None
        assert cache.get("a.jpg") is None
    assert len(warned) == 1
    assert len(store_errors(cache)) == 2
    cache.put("c.jpg", features(1000))
    cache.put("d.jpg", features(1000))
    cache.flush(60)
    assert cache.get("c.jpg") is not None
    tally["faults of a disk: deleted underneath"] += 2


def test_folders_inside_that_are_deleted_are_made_again(tmp_path: Path, tally: Counter[str]) -> None:
    cache = VisionFeatureCache(max_size=1, store=tmp_path / "f")
    for inner in ("entries", "writers"):
        cache.put("a.jpg", features(1000))
        cache.flush(60)
        shutil.rmtree(tmp_path / "f" / inner)
        tally["faults of a disk: deleted underneath"] += 1
        cache.put("b.jpg", features(1000))
        cache.put("c.jpg", features(1000))
        cache.flush(60)
        assert cache.get("b.jpg") is not None
    assert store_errors(cache) == []


DAMAGE = {
    "one bit": lambda data: data[:500] + bytes([data[500] ^ 1]) + data[501:],
    "its end missing": lambda data: data[: len(data) // 2],
    "emptied": lambda _: b"",
    "zeros, as after a power cut": lambda data: bytes(len(data)),
    "another format": lambda _: b"\x89PNG\r\n\x1a\n" + bytes(1000),
    "a pickle": lambda _: (
        b"\x80\x04\x95\x1c\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94."
    ),
    "another entry": lambda _: encode(
        mx.zeros(3), key="s:other", meta={"label": "", "seconds": 0, "meta": None}
    ),
    "no cache's": lambda _: encode(mx.zeros(3), key="s:a.jpg"),
    "nothing in it": lambda _: encode(None, key="s:a.jpg", meta={"label": "", "seconds": 0, "meta": None}),
    "a label that is no text": lambda _: encode(
        mx.zeros(3), key="s:a.jpg", meta={"label": 3, "seconds": 0, "meta": None}
    ),
    "another version": lambda data: data.replace(b'"visioncache":"1"', b'"visioncache":"9"'),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("seen", ["new to the process", "read before"])
def test_a_damaged_or_foreign_file_is_a_miss_and_is_removed(
    tmp_path: Path, damage: str, seen: str, tally: Counter[str]
) -> None:
    folder = tmp_path / "f"
    put_closed(folder)
    cache = VisionFeatureCache(max_size=1, store=folder)
    if seen == "read before":
        assert cache.get("a.jpg") is not None
        cache._lru.clear()
    path = file_of(folder)
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    with pytest.warns(StoreWarning, match="decode: ValueError") as warned:
        assert cache.get("a.jpg") is None
    assert len(warned) == 1
    assert len(store_errors(cache)) == 1
    cache.flush(60)
    assert not path.exists()
    value = features(10)
    cache.put("a.jpg", value)  # and is encoded and stored again
    cache.put("b.jpg", value)
    cache.flush(60)
    assert memoryview(cache.get("a.jpg")).tobytes() == memoryview(value).tobytes()
    tally["faults of a disk: damaged or foreign files"] += 1


def test_a_file_that_can_not_be_opened_is_a_miss(tmp_path: Path, tally: Counter[str]) -> None:
    put_closed(tmp_path / "f")
    cache = VisionFeatureCache(store=tmp_path / "f")
    path = file_of(tmp_path / "f")
    path.unlink()
    path.symlink_to(path)
    with pytest.warns(StoreWarning, match="can't be read"):
        assert cache.get("a.jpg") is None
    tally["faults of a disk: unreadable"] += 1


def test_too_many_open_files_is_a_miss(tmp_path: Path, tally: Counter[str]) -> None:
    put_closed(tmp_path / "f")
    cache = VisionFeatureCache(store=tmp_path / "f")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.warns(StoreWarning, match="Too many open files"):
            assert cache.get("a.jpg") is None
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert cache.get("a.jpg") is not None
    tally["faults of a disk: too many open files"] += 1


def test_an_index_that_another_process_keeps_busy_fails_in_bounded_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tally: Counter[str]
) -> None:
    monkeypatch.setattr("visioncache.stores.index._BUSY_SECONDS", 0.05)
    store, other = DiskStore(tmp_path), DiskStore(tmp_path)
    store.put(KEY, b"a")
    with other._changing():
        with pytest.raises(StoreError, match="locked"):
            store.put(KEY, b"b")
        assert bytes(store.get(KEY)) == b"a"
    store.put(KEY, b"c")
    assert bytes(store.get(KEY)) == b"c"
    tally["faults of a disk: a busy index"] += 1


def test_one_kind_of_fault_is_warned_of_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = VisionFeatureCache(store=tmp_path / "file" / "features")
    with pytest.warns(StoreWarning) as warned:
        for number in range(50):
            cache.get(str(number))
    assert len(warned) == 1
    assert cache.info().store.errors == 50
    assert cache.info().misses == 50


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("where", [0.3, 0.6, 0.99])
def test_a_file_that_is_damaged_after_it_was_read_is_a_miss_and_goes(
    tmp_path: Path, where: float, *, mapped: bool
) -> None:
    value = put_closed(tmp_path)
    cache, file = VisionFeatureCache(max_size=1, store=tmp_path), file_of(tmp_path)
    for other in ("b.jpg", "c.jpg"):
        assert bool(mx.array_equal(cache.get("a.jpg"), value).item())
        cache.put(other, value)  # memory lets go of a.jpg
    at = int(where * file.stat().st_size)
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    with file.open("r+b") as opened:
        if mapped:
            with mmap.mmap(opened.fileno(), 0) as content:
                content[at] ^= 1
        else:
            opened.seek(at)
            byte = opened.read(1)
            opened.seek(at)
            opened.write(bytes([byte[0] ^ 1]))
    os.utime(file, ns=times)
    with pytest.warns(StoreWarning, match="damaged"):
        assert cache.get("a.jpg") is None
    assert ["damaged" in error for error in store_errors(cache)] == [True]
    assert cache.flush()
    assert not file.exists()


def test_what_a_store_maps_is_read_before_it_is_checked() -> None:
    class Mapped:
        """A store whose bytes change whenever somebody has looked at them."""

        def __init__(self) -> None:
            self.data = bytearray()

        def get(self, key: Key) -> memoryview:
            return memoryview(self.data)

        def put(self, key: Key, data: bytes) -> None:
            self.data = bytearray(data)

        def delete(self, key: Key) -> bool:
            return True

        def clear(self, scope: str | None = None) -> None: ...
        def close(self) -> None: ...
        def volume(self) -> int:
            return len(self.data)

        def __len__(self) -> int:
            return 1

    store = Mapped()
    cache = VisionFeatureCache(max_size=1, store=store)
    value = features(50_000)
    cache.put("a.jpg", value)
    assert cache.flush()
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            store.data[-9] ^= 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(50):
            cache._lru.clear()
            with warnings.catch_warnings(action="ignore", category=StoreWarning):
                found = cache.get("a.jpg")
            assert found is None or bool(mx.array_equal(found, value).item())
            cache.flush()
    finally:
        stop.set()
        writer.join()
