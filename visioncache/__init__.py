"""An exact, inspectable vision-feature cache for vision-language models on MLX."""

from __future__ import annotations

from visioncache.cache import VisionFeatureCache
from visioncache.events import Event, EventLog
from visioncache.keys import Key
from visioncache.records import CacheInfo, Delta, Entry

__all__ = ["CacheInfo", "Delta", "Entry", "Event", "EventLog", "Key", "VisionFeatureCache"]
__version__ = "0.1.0"
