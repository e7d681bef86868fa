"""mlx-vlm: attach a cache to a model, and chat with it."""

from __future__ import annotations

from visioncache.vlm.attach import Attached, attach

__all__ = ["Attached", "attach"]
