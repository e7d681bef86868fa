"""Take a method of a class while something is attached, for every instance but those that are patched."""

from __future__ import annotations

import functools
import inspect
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from visioncache.vlm.patching.functions import standing_in, untaken
from visioncache.vlm.patching.instances import is_patched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_lock = threading.Lock()
_uses: dict[tuple[type, str], int] = {}
_put: dict[tuple[type, str], Any] = {}
"""By class and name, what the class itself had there."""
_missing = object()


@contextmanager
def method_taken(cls: type, name: str, wrapper: Callable[..., Any]) -> Iterator[None]:
    """Inside the block, a class's method is `wrapper(original, *args, **kwargs)`, `original` bound.

    Blocks of one class and name share the first one's wrapper; the last one to end puts back what was there,
    unless somebody put another there meanwhile.
    """
    own = vars(cls).get(name, _missing)
    function = inspect.getattr_static(cls, name)

    @functools.wraps(getattr(cls, name))
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        original = function.__get__(self, type(self))
        return original(*args, **kwargs) if is_patched(self) else wrapper(original, *args, **kwargs)

    standing_in(method, function)
    with _lock:
        _uses[cls, name] = _uses.get((cls, name), 0) + 1
        if _uses[cls, name] == 1:
            setattr(cls, name, method)
            _put[cls, name] = own
    try:
        yield
    finally:
        with _lock:
            _uses[cls, name] -= 1
            if not _uses[cls, name]:
                del _uses[cls, name]
                own = _put.pop((cls, name))
                now = vars(cls).get(name)
                if untaken(now) is now:
                    pass  # somebody's own by now
                elif own is _missing:
                    delattr(cls, name)
                else:
                    setattr(cls, name, own)
