"""Compared: which kinds of requests were seen to be exact, so that none is compared twice."""

from __future__ import annotations

import json
import os
import weakref
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visioncache.cache import VisionFeatureCache

FILE = "compared.json"
"""In a store's folder: which kinds of requests were compared, by digests of the model and the sources."""

_models: dict[int, tuple[weakref.ref[Any], set[str]]] = {}
"""What was compared in this process with each model that is alive, by the model's `id`."""


class Compared:
    """Names of comparisons that a model has passed: in this process, and in the folder of a cache's store.

    Args:
        model: the model; one that is attached anew need not be compared again.
        cache: the cache; if its store has a folder, other processes read there what was compared.
    """

    def __init__(self, model: Any, cache: VisionFeatureCache) -> None:
        store = getattr(getattr(cache, "_tier", None), "store", None)
        folder = getattr(store, "path", None)
        self._path = folder / FILE if isinstance(folder, Path) else None
        self._here = _of_model(model)
        self._there: set[str] | None = None

    def __contains__(self, entry: object) -> bool:
        if entry in self._here:
            return True
        if self._there is None:
            self._there = set(_read(self._path))
        return entry in self._there

    def __len__(self) -> int:
        return len(self._here | (self._there or set()))

    def add(self, entry: str, kind: str) -> None:
        """Remember a comparison; the folder's file says in words which kind of request it was."""
        self._here.add(entry)
        if self._path is None:
            return
        # Written anew, beside and renamed; where that fails, the next process compares again.
        unfinished = self._path.with_suffix(f".{os.getpid()}.tmp")
        with suppress(OSError):
            unfinished.write_text(json.dumps({**_read(self._path), entry: kind}, indent=1), encoding="utf-8")
            unfinished.replace(self._path)


def _of_model(model: Any) -> set[str]:
    known, compared = _models.get(id(model), (None, set()))
    if known is None or known() is not model:
        name = id(model)
        compared = set()
        _models[name] = weakref.ref(model, lambda _: _models.pop(name, None)), compared
    return compared


def _read(path: Path | None) -> dict[str, str]:
    if path is None:
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and all(isinstance(v, str) for v in found.values()) else {}
