"""mlx-vlm: attach a cache to a model, and chat with it."""

from __future__ import annotations

from visioncache.vlm.attach import Attached, attach
from visioncache.vlm.chat import Chat
from visioncache.vlm.families.family import Family
from visioncache.vlm.families.table import FAMILIES
from visioncache.vlm.turn import Turn

__all__ = ["FAMILIES", "Attached", "Chat", "Family", "Turn", "attach"]
