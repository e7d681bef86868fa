"""Recent: bounded, refreshed by use, safe between threads."""

from __future__ import annotations

import threading

import pytest

from visioncache.recent import Recent


def test_what_was_used_last_is_kept() -> None:
    held: Recent[str, int] = Recent(2)
    held["a"], held["b"] = 1, 2
    assert held.get("a") == 1
    held["c"] = 3
    assert (held.get("b"), held.get("b", 0), "a" in held, len(held)) == (None, 0, True, 2)
    held["a"] = 4
    assert held.values() == [3, 4]
    assert held.pop("c") == 3
    assert held.pop("c") is None
    held.clear()
    assert not len(held)


def test_a_bound_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="keep at least 1 entry"):
        Recent(0)


def test_any_thread_may_use_it() -> None:
    held: Recent[int, int] = Recent(50)
    failed: list[BaseException] = []

    def work(first: int) -> None:
        try:
            for i in range(5000):
                held[(first + i) % 97] = i
                held.get(i % 97)
                held.pop(i % 89)
                held.values()
        except BaseException as error:  # noqa: BLE001  # whatever a thread raises is the finding
            failed.append(error)

    threads = [threading.Thread(target=work, args=(n * 13,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert len(held) <= 50
