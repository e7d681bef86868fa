"""Every store keeps the same contract, a third party's too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from visioncache.stores import DiskStore, RedisStore
from visioncache.stores.contract import StoreContract

if TYPE_CHECKING:
    from pathlib import Path


class DictStore:
    """The smallest store there is."""

    def __init__(self) -> None:
        self.entries = {}

    def get(self, key: Any) -> bytes | None:
        return self.entries.get(key)

    def put(self, key: Any, data: bytes) -> None:
        self.entries[key] = bytes(data)

    def delete(self, key: Any) -> bool:
        return self.entries.pop(key, None) is not None

    def clear(self, scope: str | None = None) -> None:
        for key in [key for key in self.entries if scope is None or key.scope == scope]:
            del self.entries[key]

    def __len__(self) -> int:
        return len(self.entries)

    def volume(self) -> int:
        return sum(map(len, self.entries.values()))

    def close(self) -> None:
        pass


class TestDictStore(StoreContract):
    @pytest.fixture
    def store(self) -> Any:
        return DictStore()


class TestDiskStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Any:
        store = DiskStore(tmp_path / "features")
        yield store
        store.close()


class TestBoundedDiskStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Any:
        store = DiskStore(tmp_path / "features", max_bytes="1 GiB")
        yield store
        store.close()


class TestRedisStore(StoreContract):
    @pytest.fixture
    def store(self, server: Any) -> Any:
        # Generous: the contract is about answers, not about a busy machine's pace.
        store = RedisStore(server.url, timeout=20, prefix="contract*[x]:")
        store.clear()
        yield store
        store.clear()
        store.close()
