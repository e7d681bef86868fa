"""verify: show on the user's own machine that the cache changes nothing."""

from __future__ import annotations

from visioncache.vlm.verify.check import verify
from visioncache.vlm.verify.report import Verification

__all__ = ["Verification", "verify"]
