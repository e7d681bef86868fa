"""Prefixes: keys and values of prompts that were prefilled before.

In reading order: `boundaries` says where prefill pauses, `spelling` names what lies between two pauses,
`segments` takes from a model's caches what it added there and puts it back, `lookup` finds and keeps such
segments in a VisionFeatureCache, `options` says which calls can be continued, `continuation` runs mlx-vlm's
own prefill with what is known left out.
"""

from visioncache.vlm.prefixes.lookup import Prefixes

__all__ = ["Prefixes"]
