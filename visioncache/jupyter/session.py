"""Session: which cache the magics mean, and what they have attached and measured."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from visioncache.cache import VisionFeatureCache

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, MutableMapping

    from visioncache.keys import Key
    from visioncache.study.benchmark.result import BenchResult
    from visioncache.vlm.attach import Attached


class UsageError(ValueError):
    """What a person typed can't be done; the message says why, in one line."""


class Session:
    """A notebook's namespace as the magics see it.

    The current cache is the one that `use` named; else the one that is attached; else the only one
    of the namespace.
    """

    def __init__(self, namespace: MutableMapping[str, Any], hidden: Container[str] = ()) -> None:
        self.namespace = namespace
        self.hidden = hidden
        """Names that IPython put there itself."""
        self.bounds: Mapping[str, Any] = {}
        """Of a cache that is created."""
        self.attached: Attached | None = None
        self.pair: tuple[Any, Any] | None = None
        """The model and processor that `attach` got."""
        self.result: BenchResult | None = None
        self._used: str | None = None

    def cache(self) -> VisionFeatureCache:
        """The current cache; UsageError when there is none, or when several might be meant."""
        found = self.find()
        if found is None:
            raise UsageError("there is no cache yet; `%vcache use NAME` makes one and calls it NAME")
        return found

    def find(self) -> VisionFeatureCache | None:
        """The current cache, or None when there is none; UsageError when several might be meant."""
        if self._used is not None:
            named = self.namespace.get(self._used)
            if isinstance(named, VisionFeatureCache):
                return named
            self._used = None  # it was deleted or is something else by now
        if self.attached is not None:
            return self.attached.cache
        named = dict(self.named(VisionFeatureCache))
        distinct = {id(cache): cache for cache in named.values()}
        if len(distinct) > 1:
            raise UsageError(
                f"several caches: {', '.join(sorted(named))}; choose one with `%vcache use NAME`"
            )
        return next(iter(distinct.values()), None)

    def use(self, name: str) -> VisionFeatureCache:
        """Make the cache of that name the current one; a new one when there is none."""
        if not name.isidentifier():
            raise UsageError(f"{name!r} is not the name of a variable")
        cache = self.namespace.get(name)
        if cache is None:
            cache = self.namespace[name] = VisionFeatureCache(**self.bounds)
        if not isinstance(cache, VisionFeatureCache):
            raise UsageError(f"{name} is a {type(cache).__name__}, not a VisionFeatureCache")
        self._used = name
        return cache

    def variable(self, name: str) -> Any:
        """A variable, or an attribute of one (`lab.model`); UsageError when there is none."""
        first, *rest = name.split(".")
        try:
            value = self.namespace[first]
            for attribute in rest:
                value = getattr(value, attribute)
        except (KeyError, AttributeError):
            raise UsageError(f"there is no variable {name!r}") from None
        return value

    def attachments(self, cache: VisionFeatureCache) -> list[Attached]:
        """Whatever is attached to a cache now, by a magic or by hand."""
        hooks = sys.modules.get("visioncache.vlm.patching.mlx_vlm")
        return hooks.attached_to(cache) if hooks else []

    def keys_called(self, name: str) -> list[Key]:
        """Keys of the current cache by label, file name, key or variable; UsageError for none."""
        entries = self.cache().entries()
        if not entries:
            raise UsageError(f"no entry is called {name!r}: the cache is empty")
        for matches in (
            lambda e: name in (e.key.text, e.key.unscoped.text, e.label),
            lambda e: name == e.label.replace("\\", "/").rpartition("/")[2],
            lambda e: e.key == self._key_of_variable(name),
        ):
            found = [entry.key for entry in entries if matches(entry)]
            if found:
                return found
        labels = ", ".join(dict.fromkeys(e.label or e.key.unscoped.text for e in entries[:8]))
        raise UsageError(f"no entry is called {name!r}; there are: {labels}")

    def named(self, kind: type) -> Iterator[tuple[str, Any]]:
        """The variables of a type, except those that IPython keeps for itself."""
        for name, value in list(self.namespace.items()):
            if isinstance(value, kind) and not name.startswith("_") and name not in self.hidden:
                yield name, value

    def forget(self) -> None:
        """Detach what a magic attached, and forget every choice."""
        if self.attached is not None:
            self.attached.detach()
        self.attached = self.pair = self.result = self._used = None

    def _key_of_variable(self, name: str) -> Key | None:
        from visioncache.keys import Key

        try:
            return Key.of(self.variable(name))
        except (UsageError, TypeError, OSError):
            return None
