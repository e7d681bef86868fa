"""Second tiers: where features stay when memory lets them go, a kernel restarts or a colleague asks."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from visioncache.stores.base import Store, StoreError

if TYPE_CHECKING:
    from visioncache.stores.codec import Stored, decode, encode
    from visioncache.stores.disk import DiskStore
    from visioncache.stores.redis import RedisStore
    from visioncache.stores.tier import StoreWarning, Tier

__all__ = [
    "DiskStore",
    "RedisStore",
    "Store",
    "StoreError",
    "StoreWarning",
    "Stored",
    "Tier",
    "decode",
    "encode",
    "open_store",
]

_HOMES = {
    "DiskStore": "disk",
    "RedisStore": "redis",
    "StoreWarning": "tier",
    "Stored": "codec",
    "Tier": "tier",
    "decode": "codec",
    "encode": "codec",
}
_REDIS = ("redis://", "rediss://", "unix://", "valkey://", "valkeys://")


def open_store(location: str | os.PathLike[str], **options: Any) -> Store:
    """The store at a path (`"features/"`) or URL (`"redis://host/0"`, `"rediss://..."`, `"file:///..."`).

    `options` go to `DiskStore` or `RedisStore`. Nothing is connected to before it is asked for.

    Raises:
        ValueError: a URL of another kind, or an option's value.
        NotADirectoryError: the path is a file.
    """
    text = os.fspath(location)
    scheme, separator, rest = text.partition("://")
    if not (rest if separator else text):
        raise ValueError(f"store={text!r} names no folder and no server; '.' is the working directory")
    if text.startswith(_REDIS):
        from visioncache.stores.redis import RedisStore

        return RedisStore(text, **options)
    if separator and scheme != "file":
        raise ValueError(
            f"{scheme}:// is not a store; give a folder, or a URL with one of {', '.join(_REDIS)}"
        )
    from visioncache.stores.disk import DiskStore

    return DiskStore(rest if separator else text, **options)


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is: a store's own imports are not everybody's."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"visioncache.stores.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
