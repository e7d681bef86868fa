"""The seam: the submodule or method of a model where features are caught, and given."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from visioncache.vlm.families.family import Family


class _Caught(Exception):  # noqa: N818  # no error: it ends an encode at the seam
    def __init__(self, value: Any) -> None:
        super().__init__("caught at the seam")
        self.value = value


@dataclass
class _Moment:
    """Hold what happens at a seam now: values are caught there, or given."""

    seam: Seam
    mode: str = ""
    values: list[Any] | None = None
    calls: int | None = None
    """How many calls are caught, where that is not one."""


class Seam:
    """Where a family's features pass, in one model.

    Args:
        family: the family of the model.
    """

    _now: ContextVar[_Moment | None] = ContextVar("seam", default=None)

    def __init__(self, family: Family) -> None:
        self._family = family

    @property
    def is_open(self) -> bool:
        """Tell whether this model embeds a prompt now."""
        now = self._now.get()
        return now is not None and now.seam is self

    @classmethod
    def is_encoding(cls) -> bool:
        """Tell whether an attached model encodes an image for the cache now."""
        now = cls._now.get()
        return now is not None and now.mode == "catch"

    @classmethod
    def is_giving(cls) -> bool:
        """Tell whether an attached model embeds a prompt now, with features from the cache."""
        now = cls._now.get()
        return now is not None and now.mode == "give"

    @contextmanager
    def opened(
        self, mode: str = "", values: list[Any] | None = None, calls: int | None = None
    ) -> Iterator[None]:
        """Let the model embed a prompt inside the block."""
        before = self._now.set(_Moment(self, mode, values, calls))
        try:
            yield
        finally:
            self._now.reset(before)

    def caught(self, encode: Callable[[], object], calls: int | None = None) -> Any:
        """Return the seam's output for one image alone; the model's code after it does not run.

        Args:
            encode: encodes the image by way of the seam.
            calls: how often it calls the seam, if not once; then a list is returned.

        Raises:
            RuntimeError: the model did not come by the seam.
        """
        with self.opened("catch", [], calls):
            try:
                encode()
            except _Caught as caught:
                return caught.value
        raise RuntimeError(
            f"{self._family.name}: {self._family.seam!r} was not called for an image; "
            "this version of mlx-vlm is laid out differently"
        )

    def given(self, values: list[Any], embed: Callable[[], Any]) -> Any:
        """Embed a prompt with the values that the seam gives."""
        with self.opened("give", values.copy()):
            return embed()

    def at(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Take a call of the submodule or method."""
        now = self._now.get()
        if now is None or now.seam is not self or now.values is None:
            return original(*args, **kwargs)
        if now.mode == "give" and now.values:  # it may also encode what no item stands for
            return self._family.give(now.values.pop(0))
        output = original(*args, **kwargs)
        if now.mode == "catch":
            now.values.append(output)
            if now.calls is None:
                raise _Caught(output)
            if len(now.values) == now.calls:
                raise _Caught(now.values)
        return output
