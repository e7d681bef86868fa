"""Options: what a call of mlx-vlm's `generate_step` asks for, and which calls can't be continued."""

from __future__ import annotations

import inspect
from functools import cache
from typing import TYPE_CHECKING, Any

from visioncache.vlm.prefixes.segments import described, is_fresh, refusal

if TYPE_CHECKING:
    from collections.abc import Callable

_QUANTISED = ("kv_bits", "kv_key_bits", "kv_value_bits", "kv_key_scheme", "kv_value_scheme",
              "kv_group_size", "kv_quant_scheme", "quantized_kv_start")  # fmt: skip
_LATER = ("draft_model", "prompt_cache_checkpoint", "inputs_embeds", "decoder_input_ids")
"""Options of prefill that go their own way."""


def unfit(original: Callable[..., Any], input_ids: Any, options: dict[str, Any]) -> str:
    """Say why a call can't be continued from what is kept; empty where it can."""
    if "prompt_cache_checkpoint_lengths" not in _parameters(original):
        return "this mlx-vlm can't be told where to pause"
    if input_ids is None or input_ids.ndim != 2 or input_ids.shape[0] != 1:  # noqa: PLR2004
        return "several prompts at once"
    if found := next((name for name in _LATER if options.get(name) is not None), ""):
        return f"{found} is given"
    if options.get("prefill_step_size", 1) is None:
        return "prefill_step_size=None: all in one piece"
    caches = options.get("prompt_cache")
    return "" if caches is None else unfit_caches(caches)


def unfit_caches(caches: Any) -> str:
    """Say why nothing can be put into caches, or taken from them; empty where it can."""
    if caches is None or not all(map(is_fresh, caches)):
        return "a prompt cache is given that holds something"
    return refusal(caches)


def settings(options: dict[str, Any]) -> str:
    """Write down how caches are kept, as far as it decides what is in them."""
    quantised = {name: options[name] for name in _QUANTISED if options.get(name) is not None}
    if options.get("kv_bits") is None:
        quantised = {}
    caches = options.get("prompt_cache") or []
    return repr((described(caches), options.get("max_kv_size"), sorted(quantised.items())))


@cache
def _parameters(function: Callable[..., Any]) -> frozenset[str]:
    return frozenset(inspect.signature(function).parameters)
