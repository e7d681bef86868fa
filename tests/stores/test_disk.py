"""A folder of entries: what it looks like, who goes first, who may use it at once."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from visioncache.keys import Key
from visioncache.stores import DiskStore, StoreError, open_store

if TYPE_CHECKING:
    from pathlib import Path

A, B, C = (Key.from_source(name) for name in ("a.jpg", "b.jpg", "c.jpg"))


class Clock:
    """Seconds that pass when they are asked for."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def files(store: DiskStore) -> list[Path]:
    return sorted(path for path in (store.path / "entries").rglob("*") if path.is_file())


def file_of(store: DiskStore, key: Key) -> Path:
    from visioncache.stores.base import name_of

    return next(path for path in files(store) if path.stem == name_of(key))


# What it looks like ----------------------------------------------------------------------------------


def test_only_its_owner_may_look_into_it(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "features")
    store.put(A, b"a")
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o700
    for path in store.path.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_no_name_holds_text_of_a_user(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "features")
    store.put(Key.from_source("secret-project.jpg").scoped("secret-model"), b"a")
    store.close()
    for path in store.path.rglob("*"):
        assert "secret" not in path.name
    assert b"secret" not in (store.path / "index.sqlite3").read_bytes()


def test_nothing_unfinished_is_left_behind(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "features")
    for key in (A, B, C):
        store.put(key, b"x" * 1000)
    assert [path for path in (store.path / "writers").rglob("*") if path.is_file()] == []
    store.close()
    assert list((store.path / "writers").iterdir()) == []


def test_a_home_and_parents_are_found_and_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    DiskStore("~/deep/er/features").put(A, b"a")
    assert (tmp_path / "deep/er/features/entries").is_dir()


def test_a_path_that_is_a_file_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "features").write_text("notes")
    with pytest.raises(NotADirectoryError, match="features is not a folder"):
        DiskStore(tmp_path / "features")


@pytest.mark.parametrize("bound", [0, -1, "0 GB", "much"])
def test_a_bound_that_is_no_size_is_refused(tmp_path: Path, bound: float | str) -> None:
    with pytest.raises(ValueError, match=r"bound|size"):
        DiskStore(tmp_path, max_bytes=bound)


def test_open_store_takes_paths_and_urls(tmp_path: Path) -> None:
    assert open_store(tmp_path, max_bytes="1 GB").max_bytes == 10**9
    assert open_store(f"file://{tmp_path}/x").path == tmp_path / "x"
    with pytest.raises(ValueError, match="s3:// is not a store"):
        open_store("s3://bucket/features")


def test_stores_load_nothing_that_they_do_not_need() -> None:
    code = (
        "import sys, visioncache.stores as s; s.open_store('/tmp');"
        "print([m for m in ('mlx', 'mlx.core', 'numpy', 'redis', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Who goes first -------------------------------------------------------------------------------------


def test_the_least_recently_used_make_room(tmp_path: Path) -> None:
    store = DiskStore(tmp_path, max_bytes=250, clock=Clock())
    store.put(A, b"a" * 100)
    store.put(B, b"b" * 100)
    store.get(A)
    store.put(C, b"c" * 100)
    assert store.get(B) is None
    assert (bytes(store.get(A)), bytes(store.get(C))) == (b"a" * 100, b"c" * 100)
    assert (len(store), store.volume()) == (2, 200)


def test_recency_outlives_the_process(tmp_path: Path) -> None:
    clock = Clock()
    first = DiskStore(tmp_path, max_bytes=250, clock=clock)
    first.put(A, b"a" * 100)
    first.put(B, b"b" * 100)
    first.get(A)
    first.close()
    second = DiskStore(tmp_path, max_bytes=250, clock=clock)
    second.put(C, b"c" * 100)
    assert second.get(B) is None
    assert second.get(A) is not None


def test_what_is_larger_than_the_bound_is_refused_before_anything_goes(tmp_path: Path) -> None:
    store = DiskStore(tmp_path, max_bytes=250)
    store.put(A, b"a" * 100)
    with pytest.raises(StoreError, match="is more than the"):
        store.put(B, b"b" * 251)
    assert len(store) == 1


def test_replacing_never_costs_the_replaced_one_its_place(tmp_path: Path) -> None:
    store = DiskStore(tmp_path, max_bytes=250, clock=Clock())
    store.put(A, b"a" * 100)
    store.put(B, b"b" * 100)
    store.put(A, b"a" * 200)
    assert store.get(B) is None
    assert bytes(store.get(A)) == b"a" * 200


def test_cull_keeps_a_bound_that_was_lowered(tmp_path: Path) -> None:
    store = DiskStore(tmp_path, clock=Clock())
    for key in (A, B, C):
        store.put(key, b"x" * 100)
    assert store.cull() == 0
    store.max_bytes = 150
    assert store.cull() == 2
    assert [key for key in (A, B, C) if store.get(key)] == [C]


# Reading --------------------------------------------------------------------------------------------


def test_what_was_read_is_not_the_file_that_somebody_writes_into(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    store.put(A, b"a" * 10_000)
    for _ in range(2):
        found = store.get(A)
        with file_of(store, A).open("r+b") as file:
            file.write(b"damaged")
        assert bytes(found) == b"a" * 10_000
        store.put(A, b"a" * 10_000)


def test_what_is_no_regular_file_is_never_opened_as_one(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    for key, replace in ((A, os.mkfifo), (B, lambda path: path.symlink_to("/etc/hostname")), (C, os.mkdir)):
        store.put(key, b"x")
        path = file_of(store, key)
        path.unlink()
        replace(path)
        with pytest.raises(StoreError, match="can't be read"):
            store.get(key)


# Looking after it -----------------------------------------------------------------------------------


def test_check_finds_what_the_index_does_not_know_and_what_is_gone(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    for key in (A, B, C):
        store.put(key, b"x" * 100)
    kept = file_of(store, A)
    file_of(store, B).unlink()
    file_of(store, C).write_bytes(b"y" * 50)
    kept.with_name("0" * 32 + "-" + "0" * 16 + ".safetensors").write_bytes(b"z" * 7)
    checked = store.check()
    assert (checked.entries, checked.nbytes) == (3, 157)
    assert (checked.unindexed, checked.missing) == (1, 2)
    assert store.check()[2:] == (0, 0, 0, 0)


def test_check_with_a_decoder_removes_what_is_damaged(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    store.put(A, b"sound")
    store.put(B, b"rotten")

    def decode(data: bytes) -> None:
        if data == b"rotten":
            raise ValueError

    assert store.check(decode).damaged == 1
    assert (len(store), store.get(B)) == (1, None)


def test_files_that_are_not_entries_are_left_alone(tmp_path: Path) -> None:
    store = DiskStore(tmp_path, max_bytes=100)
    store.put(A, b"a")
    foreign = [
        tmp_path / "notes.txt",
        file_of(store, A).with_name("model.safetensors"),
        tmp_path / "entries/x",
    ]
    for path in foreign:
        path.write_bytes(b"x" * 1000)
    store.put(B, b"b" * 100)
    store.check()
    store.clear()
    assert all(path.exists() for path in foreign)
    assert len(store) == 0


@pytest.mark.parametrize("damage", [b"", b"not an index" * 1000])
def test_a_lost_or_damaged_index_is_made_again_from_the_files(tmp_path: Path, damage: bytes) -> None:
    store = DiskStore(tmp_path)
    store.put(A, b"a" * 100)
    store.put(B, b"b" * 50)
    store.close()
    for path in tmp_path.glob("index.sqlite3*"):
        path.unlink()
    if damage:
        (tmp_path / "index.sqlite3").write_bytes(damage)
    again = DiskStore(tmp_path)
    assert (len(again), again.volume()) == (2, 150)
    assert bytes(again.get(A)) == b"a" * 100


def test_an_index_that_is_deleted_while_it_is_open_is_made_again(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    store.put(A, b"a")
    for path in tmp_path.glob("index.sqlite3*"):
        path.unlink()
    store.put(B, b"b")
    assert len(store) == 2
    assert store.check()[2:] == (0, 0, 0, 0)


def test_an_index_from_elsewhere_can_have_nothing_removed_but_entries(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "features", max_bytes=1000)
    store.put(A, b"a")
    store.close()
    precious = tmp_path / "model.safetensors"
    precious.write_bytes(b"weights")
    name = "../" * 20 + str(precious.relative_to("/")).removesuffix(".safetensors")
    with sqlite3.connect(store.path / "index.sqlite3") as index:
        index.execute("insert into entries values (?, 999, 0)", (name,))
        index.execute("insert into entries values ('..', 999, 0)")
    index.close()
    store.put(B, b"b" * 500)
    store.clear()
    assert precious.exists()


def test_what_is_larger_than_any_entry_is_not_read(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    store.put(A, b"a")
    with file_of(store, A).open("r+b") as file:
        file.truncate(1 << 40)  # it takes no space
    with pytest.raises(StoreError, match="larger than any entry"):
        store.get(A)


# Several at once ------------------------------------------------------------------------------------

BUSY = """
import json, sys, threading
from visioncache.keys import Key
from visioncache.stores.disk import DiskStore
store = DiskStore(sys.argv[1], max_bytes=400_000)
torn = []
def work(thread):
    for turn in range(40):
        number = (thread * 7 + turn * 3) % 60
        key = Key.from_source(str(number))
        store.put(key, bytes([number]) * 10_000)
        for other in (number, (number + 1) % 60):
            data = store.get(Key.from_source(str(other)))
            if data is not None and bytes(data) != bytes([other]) * 10_000:
                torn.append(other)
threads = [threading.Thread(target=work, args=(i,)) for i in range(10)]
[t.start() for t in threads]; [t.join() for t in threads]
print(json.dumps({"torn": torn, "volume": store.volume()}))
"""


def test_two_processes_with_ten_threads_each_share_a_folder(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", BUSY, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in processes:
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        assert json.loads(out) == {"torn": [], "volume": 400_000}
    store = DiskStore(tmp_path)
    assert (len(store), store.volume()) == (40, 400_000)
    assert store.check()[2:] == (0, 0, 0, 0)


def test_a_forked_child_uses_the_folder_without_harm_to_its_parent(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from visioncache.keys import Key\n"
        "from visioncache.stores.disk import DiskStore\n"
        "store = DiskStore(sys.argv[1])\n"
        "store.put(Key.from_source('parent'), b'p')\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    store.put(Key.from_source('child'), b'c')\n"
        "    assert len(store) == 2\n"
        "    sys.exit()\n"
        "assert os.waitpid(pid, 0)[1] == 0\n"
        "store.put(Key.from_source('after'), b'a')\n"
        "assert len(store) == 3 and store.check()[2:] == (0, 0, 0, 0)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60)


def test_a_get_does_not_wait_for_a_put(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    store.put(A, b"a")
    got = threading.Event()
    with store._lock:  # as a put holds it while the index is busy
        thread = threading.Thread(target=lambda: store.get(A) and got.set())
        thread.start()
        assert got.wait(20)
    thread.join()
