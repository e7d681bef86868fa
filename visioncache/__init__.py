"""An exact, inspectable vision-feature cache for vision-language models on MLX."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from visioncache.cache import VisionFeatureCache
from visioncache.events import Event, EventLog
from visioncache.keys import Key
from visioncache.records import CacheInfo, Delta, Entry

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from visioncache.vlm.attach import attach
    from visioncache.vlm.chat import Chat

__all__ = [
    "CacheInfo",
    "Chat",
    "Delta",
    "Entry",
    "Event",
    "EventLog",
    "Key",
    "VisionFeatureCache",
    "attach",
]
__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    """Import `attach` and `Chat` when they are asked for: they bring mlx-vlm."""
    if name in {"Chat", "attach"}:
        import visioncache.vlm

        return getattr(visioncache.vlm, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load_ipython_extension(ipython: InteractiveShell) -> None:
    """`%load_ext visioncache`: the magics `%vcache` and `%%vcache`."""
    from visioncache.jupyter.magics import load

    load(ipython)


def unload_ipython_extension(ipython: InteractiveShell) -> None:
    """`%unload_ext visioncache`: leaves nothing behind."""
    from visioncache.jupyter.magics import unload

    unload(ipython)
