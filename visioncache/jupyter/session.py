"""Session: which cache the magics mean, and what they have attached and measured."""

from __future__ import annotations

import sys
from difflib import get_close_matches
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any
from unicodedata import normalize

from visioncache.cache import VisionFeatureCache

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping, MutableMapping, Sequence

    from visioncache.jupyter.celldelta import CellDelta
    from visioncache.keys import Key
    from visioncache.records import Entry
    from visioncache.study.benchmark.result import BenchResult
    from visioncache.vlm.attach import Attached


class UsageError(ValueError):
    """Say that what a person typed can't be done; the message says why, in one line."""


def meant(name: str, known: Iterable[str]) -> str:
    """Ask if another name was meant: "; did you mean ...?", or "" where none is like it."""
    near = get_close_matches(name, list(known), 1)
    return f"; did you mean {near[0]}?" if near else ""


class Session:
    """A notebook's namespace as the magics see it.

    The current cache is the one that `use` named; else the one that a magic attached; else the one that is
    attached by hand; else the only one of the namespace.
    """

    def __init__(self, namespace: MutableMapping[str, Any], hidden: Container[str] = ()) -> None:
        self.namespace = namespace
        self.hidden = hidden
        """Names that IPython put there itself."""
        self.bounds: Mapping[str, Any] = {}
        """Of a cache that is created."""
        self.attached: dict[str, Attached] = {}
        """Attachments that the magics made, by the model's variable."""
        self.result: BenchResult | None = None
        self.runs: dict[str, CellDelta] = {}
        """Cells that were run under a name."""
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
        for attachments in (self.attached.values(), self._all_attached()):
            caches = {id(one.cache): one.cache for one in attachments}
            if len(caches) == 1:
                return next(iter(caches.values()))
        if several := self._several():
            raise UsageError(several)
        return next((cache for _, cache in self.named(VisionFeatureCache)), None)

    @property
    def pair(self) -> tuple[Any, Any] | None:
        """The model and processor that a magic attached last, or None."""
        last = next(reversed(self.attached.values()), None)
        return None if last is None else (last.model, last.processor)

    def hint(self) -> str:
        """Say what to type next where no cache is the current one; "" where one is."""
        try:
            found = self.find()
        except UsageError as error:
            return str(error)
        if found is not None:
            return ""
        return (
            "There is no cache yet. `%vcache attach MODEL PROCESSOR` lets a model of mlx-vlm use one;\n"
            "`%vcache use NAME` only makes one. `%vcache?` lists everything."
        )

    def attached_lines(self, cache: VisionFeatureCache) -> list[str]:
        """Say what is attached to a cache, a line a model, and which speedups are on; why others are off."""
        names = {id(one): name for name, one in self.attached.items()}
        lines = []
        for one in self.attachments(cache):
            name = f"{names[id(one)]} ({one.family.name})" if id(one) in names else one.family.name
            lines.append(f"attached: {name}; speedups: {', '.join(one.speedups.on) or 'none'}")
            lines += [f"  {each}" for each in one.speedups if not each.on]
        return lines

    def attachment(self, verb: str, name: str | None = None) -> Attached:
        """Return what is attached to the current cache; UsageError where several are, and none is named."""
        found = self.attachments(self.cache())
        if name is not None:
            model = self.variable(name)
            found = [one for one in found if model is one or model is one.model]
            if not found:
                raise UsageError(f"{verb} {name}: it is not attached to this cache")
        if not found:
            raise UsageError(f"{verb} what? attach a model first: `%vcache attach MODEL PROCESSOR`")
        if len(found) > 1:
            names = ", ".join(key for key, one in self.attached.items() if one in found)
            raise UsageError(f"{verb} by which model? `--model NAME`{f'; attached: {names}' * bool(names)}")
        return found[0]

    def images(self, names: Sequence[str]) -> list[Any]:
        """Find images by name: a URL, a file, a pattern, a folder, or a variable that holds some."""
        from visioncache.vlm.folders import image_files

        found: list[Any] = []
        for name in names:
            if name.partition(".")[0] not in self.namespace or Path(name).exists():
                found += image_files([name])
                continue
            value = self.variable(name)
            found += value if isinstance(value, (list, tuple)) else [value]
        return found

    def detach(self, name: str | None = None) -> None:
        """Detach a model by its variable; without a name, all that is attached to the cache."""
        if name is None:
            found = [*self.attached.values()] or self.attachments(self.cache())
        else:
            model = self.attached[name].model if name in self.attached else self.variable(name)
            # Attached by hand, it may be named by the attachment that `attach` returned.
            found = [one for one in self._all_attached() if model is one or model is one.model]
        if not found:
            there = ", ".join(self.attached) or "nothing"
            raise UsageError(
                f"{name or 'nothing'} is not attached; attached by magics: {there}"
                if name
                else "nothing is attached"
            )
        for one in found:
            one.detach()
        self.attached = {key: one for key, one in self.attached.items() if one.is_attached}

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
            own = [
                known for known in self.namespace if not known.startswith("_") and known not in self.hidden
            ]
            raise UsageError(f"there is no variable {name!r}{meant(name, own)}") from None
        return value

    def attachments(self, cache: VisionFeatureCache) -> list[Attached]:
        """List all that is attached to a cache now, by a magic or by hand."""
        hooks = sys.modules.get("visioncache.vlm.patching.mlx_vlm")
        return hooks.attached_to(cache) if hooks else []

    def keys_called(self, name: str, *, every: bool = False) -> list[Key]:
        """Find keys of the current cache by label, file name, key or variable.

        Names are compared after Unicode normalisation: a file system may spell an accent otherwise.

        Raises:
            UsageError: there is none; or files of several folders have that name, and not `every` is meant.
        """
        name = normalize("NFC", name)
        entries = self.cache().entries()
        if not entries:
            raise UsageError(f"no entry is called {name!r}: the cache is empty")
        ways: tuple[Callable[[Entry], bool], ...] = (
            lambda e: name in (e.key.text, e.key.unscoped.text, normalize("NFC", e.label)),
            lambda e: name == file_name(e.label),
            lambda e: name == PurePath(file_name(e.label)).stem,  # which a card of the widget shows
            lambda e: self._key_of_variable(name) in (e.key, e.key.unscoped),
        )
        for matches in ways:
            found = [entry for entry in entries if matches(entry)]
            labels = list(dict.fromkeys(entry.label for entry in found))
            if len(labels) > 1 and not every and name not in labels:
                shown = ", ".join(labels[:4]) + (", ..." if len(labels) > 4 else "")  # noqa: PLR2004
                raise UsageError(
                    f"{len(labels)} entries are called {name}: {shown}; give the path of one, or --all"
                )
            if found:
                return [entry.key for entry in found]
        there = ", ".join(dict.fromkeys(entry.name for entry in entries[:8]))
        raise UsageError(f"no entry is called {name!r}; there are: {there}")

    def named(self, kind: type) -> Iterator[tuple[str, Any]]:
        """The variables of a type, except those that IPython keeps for itself."""
        for name, value in list(self.namespace.items()):
            if isinstance(value, kind) and not name.startswith("_") and name not in self.hidden:
                yield name, value

    def resume(self, earlier: Session) -> None:
        """Go on with what an earlier session attached, measured and chose."""
        self.attached, self.result, self._used = earlier.attached, earlier.result, earlier._used
        self.runs = earlier.runs

    def forget(self) -> None:
        """Detach what the magics attached, and forget every choice."""
        for one in self.attached.values():
            one.detach()
        self.attached = {}
        self.result = self._used = None
        self.runs = {}

    def _several(self) -> str:
        """Say how to choose where the namespace has several caches; "" where it hasn't."""
        named = dict(self.named(VisionFeatureCache))
        if len({id(cache) for cache in named.values()}) < 2:  # noqa: PLR2004
            return ""
        return f"several caches: {', '.join(sorted(named))}; choose one with `%vcache use NAME`"

    @staticmethod
    def _all_attached() -> list[Attached]:
        hooks: Any = sys.modules.get("visioncache.vlm.patching.mlx_vlm")
        return list(hooks.current()) if hooks else []

    def _key_of_variable(self, name: str) -> Key | None:
        from visioncache.keys import Key

        try:
            return Key.of(self.variable(name))
        except (UsageError, TypeError, OSError):
            return None


def file_name(label: str) -> str:
    """The last part of a path or URL, normalised; the whole where there is none."""
    return normalize("NFC", label.replace("\\", "/").rpartition("/")[2] or label)
