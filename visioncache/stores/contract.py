"""A test suite for stores: subclass it, say how yours is made, and run pytest.

from visioncache.stores.contract import StoreContract

class TestMyStore(StoreContract):
    @pytest.fixture
    def store(self):
        return MyStore()      # empty
"""
# ruff: noqa: S101  # assert is how a test speaks

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from visioncache.keys import Key
from visioncache.stores.base import Store

if TYPE_CHECKING:
    from collections.abc import Callable

A, B = Key.from_source("a.jpg"), Key.from_source("b.jpg")
LARGE = 20_000_000
"""Bytes: more than any feature value of an image that we know of."""


class StoreContract:
    """Test what every store promises; each test gets an empty one from the fixture `store`."""

    def test_it_has_the_methods_of_a_store(self, store: Store) -> None:
        assert isinstance(store, Store)

    def test_an_absent_entry_is_none(self, store: Store) -> None:
        assert store.get(A) is None
        assert len(store) == 0
        assert store.volume() == 0

    def test_what_was_put_comes_back(self, store: Store) -> None:
        store.put(A, b"features")
        assert bytes(store.get(A)) == b"features"

    def test_it_comes_back_as_often_as_it_is_asked_for(self, store: Store) -> None:
        store.put(A, b"features")
        assert [bytes(store.get(A)) for _ in range(3)] == [b"features"] * 3

    def test_a_put_replaces(self, store: Store) -> None:
        store.put(A, b"a longer, older value")
        store.put(A, b"new")
        assert bytes(store.get(A)) == b"new"
        assert (len(store), store.volume()) == (1, 3)

    def test_no_bytes_are_bytes_too(self, store: Store) -> None:
        store.put(A, b"")
        found = store.get(A)
        assert found is not None
        assert bytes(found) == b""

    def test_large_values_come_back_whole(self, store: Store) -> None:
        data = bytes(range(251)) * (LARGE // 251)
        store.put(A, data)
        assert bytes(store.get(A)) == data
        assert store.volume() == len(data)

    def test_replacing_a_large_value_by_a_small_one_leaves_nothing_of_it(self, store: Store) -> None:
        store.put(A, bytes(LARGE))
        store.put(A, b"small")
        assert bytes(store.get(A)) == b"small"
        assert store.volume() == len(b"small")

    def test_delete_says_whether_there_was_something(self, store: Store) -> None:
        store.put(A, b"a")
        assert store.delete(A)
        assert not store.delete(A)
        assert store.get(A) is None

    def test_delete_leaves_the_others(self, store: Store) -> None:
        store.put(A, b"a")
        store.put(B, b"b")
        store.delete(A)
        assert bytes(store.get(B)) == b"b"
        assert (len(store), store.volume()) == (1, 1)

    def test_keys_that_look_alike_do_not_meet(self, store: Store) -> None:
        keys = [
            *map(
                Key.from_source, ("a", "A", "a ", "a/b", "a\\b", "../a", "a\0b", "", "\udc80", "ä", "a\u0308")
            ),
            Key.from_source("a" * 10_000),
            Key.from_sources(["a"]),
            Key.from_bytes(b"a"),
            Key.from_source("a").scoped("x"),
            Key.from_source("a").scoped("y"),
            Key.from_source("a").scoped(""),
        ]
        for index, key in enumerate(keys):
            store.put(key, str(index).encode())
        assert [bytes(store.get(key)) for key in keys] == [str(i).encode() for i in range(len(keys))]
        assert len(store) == len(keys)

    def test_clear_removes_everything(self, store: Store) -> None:
        store.put(A, b"a")
        store.put(A.scoped("x"), b"ax")
        store.clear()
        assert (len(store), store.volume()) == (0, 0)
        assert store.get(A) is None

    def test_clear_of_a_scope_leaves_the_others(self, store: Store) -> None:
        for scope in ("model", "model/2", "other"):
            store.put(A.scoped(scope), scope.encode())
        store.put(A, b"none")
        store.clear("model")
        assert store.get(A.scoped("model")) is None
        assert bytes(store.get(A.scoped("model/2"))) == b"model/2"
        assert bytes(store.get(A)) == b"none"
        assert len(store) == 3  # noqa: PLR2004  # four less one

    def test_clearing_what_is_empty_does_no_harm(self, store: Store) -> None:
        store.clear()
        store.clear("model")
        assert len(store) == 0

    def test_it_takes_memoryviews(self, store: Store) -> None:
        store.put(A, memoryview(b"features"))  # type: ignore[arg-type]
        assert bytes(store.get(A)) == b"features"

    def test_what_get_returned_outlives_its_entry(self, store: Store) -> None:
        data = bytes(range(256)) * 4096
        store.put(A, data)
        store.get(A)
        found = store.get(A)
        store.put(A, b"replaced")
        store.delete(A)
        assert bytes(found) == data

    def test_threads_never_see_half_a_value(self, store: Store) -> None:
        values = [bytes([digit]) * 200_000 for digit in range(4)]
        torn: list[bytes] = []

        def write(index: int) -> None:
            for turn in range(8):
                store.put(A, values[(index + turn) % 4])

        def read(_: int) -> None:
            for _ in range(16):
                found = store.get(A)
                if found is not None and bytes(found) not in values:
                    torn.append(bytes(found))

        _run([write, write, read, read])
        assert not torn
        assert len(store) == 1

    def test_threads_put_side_by_side(self, store: Store) -> None:
        def write(index: int) -> None:
            for turn in range(10):
                store.put(Key.from_source(f"{index}/{turn}"), f"{index}/{turn}".encode())

        _run([write] * 8)
        assert len(store) == 80  # noqa: PLR2004  # eight times ten
        assert bytes(store.get(Key.from_source("7/9"))) == b"7/9"

    def test_closing_twice_does_no_harm(self, store: Store) -> None:
        store.put(A, b"a")
        store.close()
        store.close()


def _run(calls: list[Callable[[int], None]]) -> None:
    """Run `call(index)` on a thread each; an exception of one is raised here."""
    errors: list[BaseException] = []

    def guarded(call: Callable[[int], None], index: int) -> None:
        try:
            call(index)
        except BaseException as error:  # noqa: BLE001  # raised where it is seen
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(call, index)) for index, call in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
