"""Re-export `describe_machine`, which is `visioncache.machine`'s."""

from __future__ import annotations

from visioncache.machine import describe_machine

__all__ = ["describe_machine"]
