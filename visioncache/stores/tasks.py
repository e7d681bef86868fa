"""Tasks: what is to be done to a store, and the values that wait for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from visioncache.sizes import leaves
from visioncache.stores.codec import encode

if TYPE_CHECKING:
    from visioncache.keys import Key
    from visioncache.stores.base import Store


class Loaded(NamedTuple):
    """A value from a store, and what was stored beside it."""

    value: Any
    label: str
    seconds: float
    meta: Any


class Write(NamedTuple):
    """Store a value."""

    key: Key
    loaded: Loaded
    held: Any
    """The value in arrays that only the queue knows."""
    nbytes: int

    @property
    def name(self) -> Name:
        """Name the task in the queue; a later task of the same name replaces it."""
        return self.key.text

    def covers(self, key: Key) -> bool:
        """Tell whether it decides what is stored under a key."""
        return self.key == key

    def apply(self, store: Store) -> int:
        """Do it; returns how many bytes were written."""
        _, label, seconds, meta = self.loaded
        record = {"label": label, "seconds": seconds, "meta": meta}
        data = encode(self.held, key=self.key.text, meta=record)
        store.put(self.key, data)
        return len(data)


class Remove(NamedTuple):
    """Remove what is stored under a key."""

    key: Key
    nbytes: int = 0

    @property
    def name(self) -> Name:
        return self.key.text

    def covers(self, key: Key) -> bool:
        return self.key == key

    def apply(self, store: Store) -> int:
        store.delete(self.key)
        return 0


class Clear(NamedTuple):
    """Remove everything, or what is of a scope."""

    scope: str | None
    nbytes: int = 0

    @property
    def name(self) -> Name:
        return ("clear", self.scope)

    def covers(self, key: Key) -> bool:
        return self.scope is None or key.scope == self.scope

    def apply(self, store: Store) -> int:
        store.clear(self.scope)
        return 0


Task = Write | Remove | Clear
Name = str | tuple[str, str | None]


def held(value: Any) -> Any:
    """A value in arrays of its own, laid out in rows, on their way to being evaluated.

    Another thread may wait for these, as nobody else has them: an array that two threads wait for
    at once is a data race inside mlx. A row-contiguous buffer is shared, not copied.
    """
    import mlx.core as mx

    own: dict[int, Any] = {}
    for leaf in leaves(value):
        if not isinstance(leaf, mx.array):
            raise TypeError(f"a store keeps mlx arrays; found {type(leaf).__name__}")
        # A GPU's stream has no float64.
        own[id(leaf)] = mx.contiguous(leaf, stream=mx.cpu if leaf.dtype == mx.float64 else None)
    mx.async_eval(list(own.values()))  # type: ignore[no-untyped-call]
    return _mapped(value, own)


def _mapped(value: Any, own: dict[int, Any]) -> Any:
    if isinstance(value, (tuple, list)):
        return type(value)([_mapped(item, own) for item in value])
    if isinstance(value, dict):
        return {name: _mapped(item, own) for name, item in value.items()}
    return None if value is None else own[id(value)]
