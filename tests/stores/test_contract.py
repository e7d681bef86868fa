"""Every store keeps the same contract, a third party's too."""

from __future__ import annotations

import pytest

from visioncache.stores import DiskStore, RedisStore
from visioncache.stores.contract import StoreContract


class DictStore:
    """The smallest store there is."""

    def __init__(self):
        self.entries = {}

    def get(self, key):
        return self.entries.get(key)

    def put(self, key, data):
        self.entries[key] = bytes(data)

    def delete(self, key):
        return self.entries.pop(key, None) is not None

    def clear(self, scope=None):
        for key in [key for key in self.entries if scope is None or key.scope == scope]:
            del self.entries[key]

    def __len__(self):
        return len(self.entries)

    def volume(self):
        return sum(map(len, self.entries.values()))

    def close(self):
        pass


class TestDictStore(StoreContract):
    @pytest.fixture
    def store(self):
        return DictStore()


class TestDiskStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        store = DiskStore(tmp_path / "features")
        yield store
        store.close()


class TestBoundedDiskStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        store = DiskStore(tmp_path / "features", max_bytes="1 GiB")
        yield store
        store.close()


class TestRedisStore(StoreContract):
    @pytest.fixture
    def store(self, server):
        # Generous: the contract is about answers, not about a busy machine's pace.
        store = RedisStore(server.url, timeout=20, prefix="contract*[x]:")
        store.clear()
        yield store
        store.clear()
        store.close()
