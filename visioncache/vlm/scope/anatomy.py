"""Anatomy: describe objects for a digest, whole and to any depth, and watch that they stay as they are."""

from __future__ import annotations

from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

from blake3 import blake3

from visioncache.vlm.patching.functions import untaken
from visioncache.vlm.scope import classes, known, objects, programs, values, written
from visioncache.vlm.scope.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

_ENOUGH = 200_000
"""Objects after which a description gives up."""

_LONG = 300
"""Characters of a place, which is read by people."""

_CODE = (type, FunctionType, ModuleType)
"""Kinds of objects that programs are made of."""

Child = tuple[str, Any]
"""Where something lies, and what it is."""


class Anatomy:
    """Objects as they were when they were added.

    Args:
        before: an earlier one, to take the digests of its arrays from where they are the same objects.
        counts: tells from an attribute's name and value whether it decides anything, in modules alone.
        reads: the attributes of tokenizers that decide anything.
        was: gives what to describe instead of an object's attribute, for what a model set itself.
    """

    def __init__(
        self,
        before: Anatomy | None = None,
        counts: Callable[[Any, Any], bool] | None = None,
        reads: Iterable[str] = (),
        was: Callable[[Any, str, Any], Any] | None = None,
    ) -> None:
        self.watch = Watch()
        self.opaque: list[str] = []
        """Where there is something that can't be described, and what: no other digest equals this one."""
        self.users: list[str] = []
        """Where there is code that is neither mlx-vlm's nor another library's."""
        self.states: list[tuple[Any, str]] = []
        """Globals and cells that a user's code writes to, which count as they were at first."""
        self.updates: set[str] = set()
        self.uses: set[str] = set()
        """Names that a user's code counts with, and that it reads: what is in both changes with each call."""
        self.unused: frozenset[str] = frozenset()
        """Names of methods that no method in use asks for, which may read what they like."""
        self.unasked: list[tuple[str, Any]] = []
        """Such methods of a user's: the name, and what its code reads."""
        self.asked: set[str] = set()
        """Names that a user's code asks for otherwise."""
        self.defined: set[Any] = set()
        """Classes and modules, once it was said what they define."""
        self.lasts = True
        """Set while it holds nothing but what libraries hold for as long as the process lives."""
        self.counts, self.reads, self.was = counts, frozenset(reads), was
        self._met: dict[int, tuple[int, Any]] = {}
        self._programs: dict[Any, tuple[int, str, Any]] = {}
        """Code that was met, which is described apart: what it consists of was often described before."""
        self._code: list[Anatomy] = []
        """Descriptions of such code."""
        self._is_apart = False
        """Set in the description of code that lies apart."""
        # Of arrays that were hashed before: they themselves, so that no id comes twice, and their twins.
        self._known: dict[int, tuple[Any, Any, str]] = {} if before is None else before._contents  # noqa: SLF001
        self._contents: dict[int, tuple[Any, Any, str]] = {}
        self._hasher = blake3()
        self.depth = 0
        """How many sets this lies in, where it describes a member of one."""
        self.is_glance = False
        """Set where it is taken to be compared once, so that nothing in it is watched in turn."""

    @property
    def digest(self) -> str:
        """128 bits over all that was added."""
        self.closed()
        return self._hasher.hexdigest(length=16)

    def changed(self) -> bool:
        """Tell whether any of what was added is another object now, holds others, or was written into."""
        return self.closed().watch.changed()

    def add(self, name: str, value: Any) -> None:
        """Describe something under a name, and watch it."""
        self.say("add", name)
        self._add([(name, value)])

    def strangers(self, module: str) -> None:
        """Describe the functions in a library's module that somebody put there, and watch for others."""
        self.say("strangers", module)
        self._programs[module] = len(self._programs), module, None

    def closed(self) -> Self:
        """Say what the code is that was met, all at once, and return itself."""
        if self._programs:
            roots = [(path, value) for _, path, value in self._programs.values()]
            code = known.programs(type(self), roots, lambda: self._apart(roots))
            self._programs = {}
            self.say("programs", code.digest)
            self.watch.include(code.watch)
            self._code.append(code)
            self.opaque += code.opaque
            self.users += code.users
            self.states += code.states
            self._contents |= code._contents  # noqa: SLF001
        return self

    def settled(self) -> Self:
        """Say all that is left to say; let go of old arrays and of the model, which only describing needs."""
        self.closed()
        self.counts = self.was = None
        self._known = {}
        return self

    def _apart(self, roots: Iterable[Child]) -> Anatomy:
        apart = type(self)(self, self.counts, self.reads, self.was)
        apart._known = self._known | self._contents  # noqa: SLF001
        apart._is_apart = True  # noqa: SLF001
        apart.unused = self.unused
        for path, value in roots:
            apart.say("root")
            apart._add(classes.strangers(apart, path) if value is None else [(path, value)])  # noqa: SLF001
        programs.decide_on_asked(apart)
        for name in sorted(apart.updates & apart.uses)[:1]:
            apart.refuse(name.lstrip("."), "counted by code that reads it, which is another each time")
        return apart

    def _add(self, todo: list[Child]) -> None:
        todo.reverse()
        while todo:
            todo += reversed(self._open(*todo.pop()))

    def has(self, value: Any) -> bool:
        """Tell whether an object was described."""
        return id(value) in self._met

    def met(self) -> Iterator[Any]:
        """Give every object that was described."""
        yield from (value for _, value in self._met.values())
        for code in self._code:
            yield from code.met()

    def say(self, *words: str) -> None:
        """Take words into the digest, so that no other words are the same."""
        for word in words:
            said = word.encode("utf-8", "surrogatepass")
            self._hasher.update(b"%d:%b" % (len(said), said))

    def row(self, kind: str, path: str, items: Iterable[Any]) -> list[Child]:
        """Say that so many things follow, and give them."""
        path = _short(path)
        row = [(f"{path}[{i}]", item) for i, item in enumerate(items)]
        self.say(kind, str(len(row)))
        return row

    def named(self, kind: str, path: str, items: Mapping[str, Any]) -> list[Child]:
        """Say which names follow, sorted, and give what they name."""
        names, path = sorted(items), _short(path)
        self.say(kind, str(len(names)), *names)
        return [(f"{path}.{name}" if path else name, items[name]) for name in names]

    def content(self, array: Any) -> str:
        """Give what an array holds, hashed once for as long as it is the same object and not written into."""
        known = self._known.get(id(array)) or self._contents.get(id(array))
        if known is None or written.is_written(*known[:2]):
            twin = written.twin(array)
            known = array, twin, self.told_apart(array, twin)
        self._contents[id(array)] = known
        self.watch.data(*known[:2])
        return known[2]

    def told_apart(self, _: Any, twin: Any) -> str:
        """Tell an array apart from others by what it holds; of its twin, into which nobody writes."""
        return values.content(twin)

    def inside(self) -> Anatomy:
        """Return an anatomy for a member of a set, which is described alone."""
        inner = Anatomy(self, self.counts, self.reads, self.was)
        inner.depth = self.depth + 1
        inner._is_apart = self._is_apart
        inner.unused = self.unused
        return inner

    def glance(self) -> Anatomy:
        """Return an anatomy for a look at one object, which may hold itself."""
        glance = Anatomy()
        glance.is_glance = True
        return glance

    def refuse(self, path: str, what: str) -> list[Child]:
        """Say something that nothing else says, for what can't be described."""
        self.opaque.append(f"{path} is {what}")
        self.say("opaque", uuid4().hex)
        return []

    def _open(self, path: str, value: Any) -> list[Child]:
        """Say what there is to say of one object, and give what it consists of."""
        kind = type(value)
        if kind in values.PLAIN:
            self.say(kind.__name__, repr(value))
            return []
        if kind is tuple:
            return self.row("tuple", path, value)
        if self.is_glance and isinstance(value, _CODE):
            self.say("known", str(id(value)))  # what it is like is watched by itself
            return []
        value = untaken(value)
        if isinstance(value, _CODE) and not self._is_apart:
            entry = self._programs.setdefault(id(value), (len(self._programs), path, value))
            self.say("program", str(entry[0]))
            return []
        if id(value) in self._met:
            self.say("again", str(self._met[id(value)][0]))
            return []
        self._met[id(value)] = (len(self._met), value)
        if len(self._met) > _ENOUGH:
            return self.refuse(path, "more than can be described")
        try:
            for kinds, describe in _DESCRIBED:
                if isinstance(value, kinds):
                    described: list[Child] = describe(self, path, value)
                    return described
            return objects.other(self, path, value)
        except Exception:  # noqa: BLE001  # whatever an object raises that is only asked what it is
            return self.refuse(path, f"a {kind.__qualname__}, which can't be described")


def _short(path: str) -> str:
    return path if len(path) < _LONG else f"{path[: _LONG // 2]}..."


_DESCRIBED: tuple[tuple[Any, Any], ...] = (
    *values.FIRST,
    *classes.DESCRIBED,
    *programs.DESCRIBED,
    *objects.DESCRIBED,
    *values.CONTAINERS,
)
