"""Rewind: what a cell changes, kept before a first run, so that a second run finds it as it was."""

from __future__ import annotations

import copy
import random
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import MutableMapping


class State:
    """The variables of a namespace, its chats and prompt caches, and the seeds of what draws at random.

    Other objects that a cell changes in place stay changed; so do files.
    """

    def __init__(self, namespace: MutableMapping[str, Any]) -> None:
        self._namespace = namespace
        self._variables = dict(namespace)
        self._chats = [(chat, _fields(chat)) for chat in chats(namespace)]
        self._caches = [(cache, copy.deepcopy(vars(cache))) for cache in _prompt_caches(namespace)]
        self._random = random.getstate()
        numpy: Any = sys.modules.get("numpy")
        self._numpy = numpy.random.get_state() if numpy else None
        mx: Any = sys.modules.get("mlx.core")
        self._mlx = mx.random.state[0].tolist() if mx else []

    def restore(self) -> None:
        """Put everything back."""
        for name in [*self._namespace]:
            if name not in self._variables:
                del self._namespace[name]
        self._namespace.update(self._variables)
        for chat, known in self._chats:
            vars(chat).update(known)
        for cache, known in self._caches:
            vars(cache).clear()
            vars(cache).update(known)
        random.setstate(self._random)
        if self._numpy is not None:
            sys.modules["numpy"].random.set_state(self._numpy)
        if self._mlx:
            high, low = self._mlx  # a key is its seed, in two halves
            sys.modules["mlx.core"].random.seed(high << 32 | low)


def chats(namespace: MutableMapping[str, Any]) -> list[Any]:
    """The conversations that a namespace's variables hold, each once."""
    module: Any = sys.modules.get("visioncache.vlm.chat")
    found = [value for value in namespace.values() if module and isinstance(value, module.Chat)]
    return list({id(chat): chat for chat in found}.values())


def _fields(chat: Any) -> dict[str, Any]:
    """A chat's own fields; what grows in place is copied, keys and values of its turns too."""
    kept = dict(vars(chat))
    kept["turns"] = list(chat.turns)
    kept["_prompt_cache"] = copy.deepcopy(kept.get("_prompt_cache"))
    return kept


def _prompt_caches(namespace: MutableMapping[str, Any]) -> list[Any]:
    """mlx-vlm's prompt caches among the variables."""
    module: Any = sys.modules.get("mlx_vlm.generate")
    kind = getattr(module, "PromptCacheState", None)
    found = [value for value in namespace.values() if kind and isinstance(value, kind)]
    return list({id(cache): cache for cache in found}.values())
