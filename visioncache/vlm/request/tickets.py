"""Tickets: the pixels that a processor hands on while attached, and the images that they stand for.

A ticket has the shape of the pixels and takes no memory. It is told by its buffer, so that whatever is
computed from it, copied or cut is none. Its numbers are NaNs, which spell a digest of the request's
images: whoever hashes them (mlx-vlm's prompt caches do) tells images apart, on the first look and on
the second, and whoever computes with them gets NaN.
"""

from __future__ import annotations

import threading
import weakref
from collections import Counter, OrderedDict
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_map

from visioncache.events import new_request
from visioncache.keys import Key
from visioncache.recent import Recent
from visioncache.sizes import dtype_of, leaves

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from visioncache.cache import VisionFeatureCache

    Mark = tuple[Any, ...]
    """Where an array's numbers lie: address, strides, shape and dtype."""


@dataclass
class Item:
    """One image (or video, or tile) of a request: known already, or about to be encoded."""

    key: Key
    label: str = ""
    features: Any = None
    """The stored value when the image was known; held, so that no eviction can take it away."""
    inputs: dict[str, Any] = field(default_factory=dict)
    """The inputs that the model encodes, when it was not known."""
    meta: dict[str, Any] = field(default_factory=dict)
    """The facts that are stored beside the value."""
    seconds: float = 0.0
    """The cost of making its inputs."""

    @property
    def images(self) -> int:
        """How many images it holds: several where a request is one entry."""
        return len(self.meta.get("sizes") or ()) or 1


class Request:
    """One call of an attached processor: its images in order, and the same call without a cache.

    Args:
        owner: the processor's side of the attachment that the call belongs to.
        again: makes the call without a cache and returns its outputs.
    """

    _current: ContextVar[Request | None] = ContextVar("request", default=None)

    def __init__(self, owner: Any, again: Callable[[], Any]) -> None:
        self.owner = owner
        self.again = again
        self.number = new_request()
        """What the cache's events of it are marked with."""
        self.items: list[Item] = []
        self.asked: dict[str, Item] = {}
        """Items by key that were looked up before the image processor was called."""
        self.prepared: dict[str, Item] = {}
        """Items by key: an image that comes twice is decoded and processed once."""
        self.sources: list[tuple[Any, Key]] = []
        """Each image as it was given, and its key then."""
        self.settings = ""
        """The digest of all that decided how its pixels were made."""
        self.beside: dict[str, Any] = {}
        """Outputs that were handed on with the ticket, but for the images': `input_ids`, masks."""
        self.is_foreign = False
        """Tell whether it has images without an identity, so that nothing of it is looked up."""

    @property
    def digest(self) -> str:
        """128 bits over the images, as hex digits."""
        return digest_of([item.key for item in self.items])

    @contextmanager
    def current(self) -> Iterator[None]:
        """Let the image processor find this request inside the block."""
        before = Request._current.set(self)
        try:
            yield
        finally:
            Request._current.reset(before)

    @classmethod
    def of(cls, owner: Any) -> Request | None:
        """Return the request that runs now, if it is this owner's."""
        request = cls._current.get()
        return request if request is not None and request.owner is owner else None

    @classmethod
    @contextmanager
    def aside(cls) -> Iterator[None]:
        """Let no image processor find a request inside the block."""
        before = cls._current.set(None)
        try:
            yield
        finally:
            cls._current.reset(before)


def numbered(cache: VisionFeatureCache, requests: Iterable[Request]) -> AbstractContextManager[None]:
    """Mark a cache's events inside the block as of one request, unless somebody marked them otherwise.

    Args:
        cache: the cache.
        requests: those that tickets stand for; of none, it is a request of its own.
    """
    number = next((request.number for request in requests), None) or new_request()
    return cache.tag(**{"request": number, **cache.tags})


class Tickets:
    """Requests by the ticket that stands for them, for as long as its first array lives.

    A request that 1,024 newer ones followed is forgotten too; its ticket is an error then.
    """

    capacity = 1024
    shapes = 4096

    def __init__(self) -> None:
        self._held: OrderedDict[tuple[Mark, ...], _Held] = OrderedDict()
        self._shapes: Recent[tuple[int, ...], None] = Recent(self.shapes)
        """Of the arrays that were handed out."""
        self._waiting: Counter[tuple[int, ...]] = Counter()
        """By shape, how many of them have not come back to be embedded."""
        self._lock = threading.RLock()  # the collector may forget one while another is looked for

    def hold(self, pixels: Any, beside: dict[str, Any], request: Request) -> None:
        """Keep a request under its ticket, with the other inputs that belong to it."""
        arrays = list(leaves(pixels))
        name = tuple(map(mark, arrays))
        held = _Held(tree_map(_kept, arrays), tree_map(_kept, beside), request)
        self._count(arrays, 1)
        with self._lock:
            self._held[name] = held
            while len(self._held) > self.capacity:
                self._held.popitem(last=False)
        # The model may keep these arrays, and would never be freed if they kept this.
        weakref.finalize(arrays[0], _if_alive, weakref.WeakMethod(self._forget), name, weakref.ref(held))

    def find(self, pixels: Any) -> _Held | None:
        """Return what these very pixels stand for; None for pixels that were not handed out here."""
        try:
            arrays = list(leaves(pixels))
        except TypeError:  # objects, which no ticket is made of
            return None
        if not arrays or not self.may_hold(arrays[0]):
            return None  # without a look at the buffer, which a GPU might have to move
        held = self._held.get(tuple(map(mark, arrays)))
        if held is not None and not held.came_back:
            held.came_back = True
            self._count(arrays, -1)
        return held

    def may_hold(self, array: Any) -> bool:
        """Tell whether a ticket of this shape and dtype is out."""
        alike = (tuple(array.shape), dtype_of(array))
        with self._lock:
            return any(name[0][2:] == alike for name in [*self._held])

    def is_blank(self, array: Any) -> bool:
        """Tell whether an array has the shape of a ticket and is one number, to which much turns NaN.

        If every ticket of this shape was embedded, a number that is not zero is taken for a white page, which
        a processor made that is not attached.
        """
        shape = tuple(array.shape)
        if shape not in self._shapes or not bool((array == array.reshape(-1)[:1]).all()):
            return False
        return self._waiting[shape] > 0 or not bool(array.any())

    def refused(self, arrays: Sequence[Any]) -> None:
        """Take it that what was made from a ticket came back; of another shape, that every ticket did."""
        if all(tuple(array.shape) in self._shapes for array in arrays):
            self._count(arrays, -1)
        else:
            self.expect_none()

    def expect_none(self) -> None:
        """Wait for no ticket that was handed out until now."""
        with self._lock:
            self._waiting.clear()

    def _count(self, arrays: Sequence[Any], more: int) -> None:
        with self._lock:
            for shape in (tuple(array.shape) for array in arrays):
                self._shapes[shape] = None
                self._waiting[shape] = max(self._waiting[shape] + more, 0)
            if len(self._waiting) > self.shapes:
                self._waiting.clear()

    def _forget(self, name: tuple[Mark, ...], held: weakref.ref[_Held]) -> None:
        with self._lock:
            if name in self._held and self._held[name] is held():
                del self._held[name]


def _if_alive(method: weakref.WeakMethod[Callable[..., None]], *args: Any) -> None:
    call = method()
    if call is not None:
        call(*args)


@dataclass(eq=False)
class _Held:
    arrays: list[Any]
    """On the ticket's own buffers, which nobody else is given meanwhile."""
    beside: dict[str, Any]
    request: Request
    came_back: bool = False

    def changed(self, inputs: dict[str, Any]) -> str:
        """Name an input beside the pixels that is another one than was handed out; "" if there is none."""
        given = ((name, own, inputs.get(name)) for name, own in self.beside.items())
        return next((n for n, own, now in given if now is not None and not _equal(own, now)), "")

    def lacks(self, inputs: dict[str, Any], read: Collection[str]) -> bool:
        """Tell whether an input beside the pixels that was handed out, and is read, is not among these."""
        given = {name for name, value in inputs.items() if value is not None}
        return any(
            own is not None and name in read and name not in given for name, own in self.beside.items()
        )


def digest_of(keys: Sequence[Key]) -> str:
    """Return 128 bits over keys, as hex digits; their order counts."""
    text = Key.of(list(keys)).text if len(keys) > 1 else keys[0].text
    return Key.from_bytes(text.encode("utf-8", "surrogatepass")).text[2:]


def mark(array: Any) -> Mark:
    """Return where an array's numbers lie: two arrays of one mark are the same numbers."""
    told = array.view(mx.uint16) if dtype_of(array) == "bfloat16" else array
    plain = np.asarray(told)
    return plain.__array_interface__["data"][0], plain.strides, tuple(array.shape), dtype_of(array)


def alias(array: Any) -> Any:
    """Return another array on an mlx array's buffer, which writing into that one never changes."""
    return array[...] if isinstance(array, mx.array) else array


def to_mlx(value: Any) -> Any:
    """Return the same numbers for MLX, in an array that nobody else can write into."""
    if isinstance(value, list):
        return [alias(item) for item in value]
    return mx.array(value) if isinstance(value, np.ndarray) else alias(value)


def _kept(value: Any) -> Any:
    """Return another array of the same numbers, which does not keep this one alive."""
    if isinstance(value, np.ndarray):
        return value.copy() if value.flags.writeable else value[...]
    return alias(value)


def _equal(one: Any, other: Any) -> bool:
    """Tell whether two trees of arrays hold the same numbers, be they MLX's or numpy's."""
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, mx.array) and isinstance(other, mx.array):
        return mark(one) == mark(other) or bool(mx.array_equal(one, other, equal_nan=True).item())
    first, second = np.asarray(one), np.asarray(other)
    floats = first.dtype.kind == second.dtype.kind == "f"  # tickets' are NaN
    return bool(np.array_equal(first, second, equal_nan=floats))
