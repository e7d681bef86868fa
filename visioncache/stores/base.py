"""Store: what a second tier does. Bytes in, bytes out; values never reach one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from blake3 import blake3

if TYPE_CHECKING:
    from visioncache.keys import Key

NO_SCOPE = "0" * 16


class StoreError(OSError):
    """A store could not do what was asked; what it holds may still be read later."""


@runtime_checkable
class Store(Protocol):
    """Where encoded values are kept once memory has let them go.

    Any thread may call any method. A method that can't do its work raises StoreError (any other
    exception does too): the cache takes a failed `get` for a miss, and never shows a fault of a
    store to who asked for an image. `visioncache.stores.contract` is a test suite for stores.
    """

    def get(self, key: Key) -> Any:
        """The bytes stored under a key, as bytes or something like them; None when there are none."""

    def put(self, key: Key, data: bytes) -> None:
        """Store bytes under a key, replacing what was there: at any moment either all or none."""

    def delete(self, key: Key) -> bool:
        """Remove what is stored under a key; False when nothing was."""

    def clear(self, scope: str | None = None) -> None:
        """Remove everything, or what is stored under keys of one scope (`key.scope`)."""

    def __len__(self) -> int:
        """How many entries there are."""

    def volume(self) -> int:
        """Bytes that the entries hold."""

    def close(self) -> None:
        """Let go of files and connections; closing twice does no harm."""


def name_of(key: Key) -> str:
    """Name an entry by digests of its key and scope, so that a name holds no text of a user."""
    return f"{_digest(key.text, 16)}-{scope_digest(key.scope)}"


def scope_digest(scope: str | None) -> str:
    """Digest a scope; the names of its entries end with it."""
    return NO_SCOPE if scope is None else _digest(scope, 8)


def _digest(text: str, length: int) -> str:
    return blake3(text.encode("utf-8", "surrogatepass")).hexdigest(length=length)
