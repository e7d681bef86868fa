"""verify: show on the user's own machine that the cache changes nothing."""

from __future__ import annotations

from visioncache.vlm.verify.report import Verification
from visioncache.vlm.verify.trial import verify

__all__ = ["Verification", "verify"]
