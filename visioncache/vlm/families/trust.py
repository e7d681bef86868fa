"""Trust: what of a family is believed, and what is first compared with the model's own answer.

A family of the table is believed with the sources of mlx-vlm that it was proven with. With others, and where
code of the user's own takes part, the first encode of each kind of request is compared before anything is
stored: with one image to the last bit, with several as far as images that are encoded one by one may differ
from a batch of them.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from blake3 import blake3
from mlx.utils import tree_flatten, tree_map

import visioncache
from visioncache.sizes import dtype_of, leaves
from visioncache.vlm.families.compared import Compared
from visioncache.vlm.families.proven import is_proven, package_of, source_digest, versions_with
from visioncache.vlm.request.stand_in import stand_in
from visioncache.vlm.scope.code import version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from visioncache.cache import VisionFeatureCache
    from visioncache.vlm.families.family import Family
    from visioncache.vlm.scope.described import Described

SLIGHT = {"float32": 1e-4, "float16": 2.0**-8, "bfloat16": 2.0**-5}
"""How far several images, encoded one by one, may lie from a batch of them, over the largest number."""


_ONE = (1, 0)
"""An image, and no video: what is given of it is compared to the last bit."""


class Trust:
    """Which kinds of requests of a model may be answered from a cache without being compared first.

    What was compared counts for the model and the processor as they were then: their weights, settings, code.

    Args:
        model: the model.
        family: its family.
        cache: the cache; what was compared is remembered in the folder of its store, if it has one.
        described: gives what decides features, the model and its processor, as it was last looked at.
    """

    def __init__(
        self,
        model: Any,
        family: Family,
        cache: VisionFeatureCache,
        described: Callable[[], Sequence[Described]],
    ) -> None:
        self.package = package_of(model)
        self.version = version("mlx-vlm")
        # One that is only recognised is compared whenever it encodes; see recognise.py.
        self._is_recognised = bool(family.recognised)
        self.proven = self._is_recognised or is_proven(self.package, self.version)
        self._described = described
        self._compared = Compared(model, cache)
        self._differing: set[str] = set()
        self._refused = ""
        """The state of model and processor in which a single image was seen to differ, which is exact."""
        self._unlike: set[str] = set()
        """Kinds that were seen to differ: what another image of such a kind shows excuses none."""
        self._prompted = ""
        """The state in which an image's features were seen to depend on its prompt."""
        self.leaves_nothing = False
        """Refuse what differs by a user's code too, as `verify` does, which is to find it."""

    @property
    def note(self) -> str:
        """One line about a family that is not proven as installed; nothing about others."""
        if self.proven:
            return ""
        known = versions_with(self.package)
        with_ = (
            f"with {known[0]} to {known[-1]}" if len(known) > 1 else f"with {known[0]}" if known else "never"
        )
        other = "another source than it was proven with" if self.version in known else f"proven {with_}"
        return (
            f"{self.package} of mlx-vlm {self.version} is not what visioncache was proven with ({other}); "
            "the first encode of each kind of request is compared with the model's own answer"
        )

    @property
    def is_sure(self) -> bool:
        """Tell whether nothing needs comparing: of a proven family without a user's code."""
        return self._is_recognised or (self.proven and not self._has_users_code)

    def knows(self, kind: Kind) -> bool:
        """Tell whether a kind of request needs no comparing: of a proven family, or compared before."""
        if self.is_sure:
            return True
        return self._entry(kind) in self._compared and not self._is_refused(kind)

    def leaves(self, kind: Kind) -> bool:
        """Tell whether a kind of request was seen to differ, by code of the user's own."""
        return bool(self._differing) and self._entry(kind) in self._differing

    def leave(self, kind: Kind, error: ValueError) -> None:
        """Leave a kind of request to the model from now on, and say why; raise what no user's code caused."""
        if self.leaves_nothing or not self._has_users_code:
            raise error
        self._differing.add(self._entry(kind))
        why = str(error.__cause__ or error).partition(";")[0]
        warnings.warn(
            f"{kind} is not cached: code that is not mlx-vlm's takes part ({why})",
            stacklevel=2,
        )

    @property
    def _has_users_code(self) -> bool:
        return any(one.has_users_code for one in self._described())

    def _entry(self, kind: Kind) -> str:
        """Return the name of a comparison: 128 bits over the kind, model, processor and sources."""
        sources = f"{self.package}/{source_digest(self.package)}/{self.version}/{visioncache.__version__}"
        return blake3(f"{kind!r}/{sources}/{self._state}".encode()).hexdigest(length=16)

    @property
    def _state(self) -> str:
        return "/".join(one.last for one in self._described())

    def _is_refused(self, kind: Kind) -> bool:
        """Tell whether a kind may differ where it isn't seen, as it was seen elsewhere."""
        return self._state in (self._prompted, self._refused) or self._entry(kind) in self._unlike

    def compare(self, kind: Kind, *pairs: tuple[Any, Any]) -> None:
        """Compare what a model itself gives its language model with what it gives with a cache.

        Args:
            kind: the request's.
            pairs: what the model's own code returned, and what it returned when it was handed features, and
                NaN for pixels; of the request, and of its images in another prompt.

        Raises:
            ValueError: they differ; the kind stays unknown, and nothing is to be stored.
        """
        exact = kind.images == _ONE
        differing = next(filter(None, (_differing(*pair, exact=exact) for pair in pairs)), "")
        if self._is_refused(kind) and not (differing and exact):
            one = "an image alone differs" if self._state == self._refused else "one of its kind differed"
            raise self.refusal(f"{kind}: not cached, because {one} with a cache")
        if differing:
            self._unlike.add(self._entry(kind))
            self._refused = self._state if exact else self._refused
            raise self.refusal(f"{kind}: its language model is given other {differing} with a cache")
        self._compared.add(self._entry(kind), str(kind))

    def compare_features(self, kind: Kind, features: Any, other: Any) -> None:
        """Compare an image's features with those of the same image in another prompt, where there are any.

        Raises:
            ValueError: they differ: an entry an image would answer for other prompts than its own.
        """
        if other is not None and not _equal(features, other):
            self._prompted = self._state
        if self._state == self._prompted:
            raise self.refusal(f"{kind}: an image's features depend on its prompt")

    def compare_outputs(self, kind: Kind, own: dict[str, Any], handed: dict[str, Any]) -> None:
        """Compare what a processor makes beside pixels with what it made with a cache.

        Raises:
            ValueError: they differ: images take other places together, or an output is made of pixels.
        """
        other = next((n for n in {**handed, **own} if not _equal(own.get(n), handed.get(n))), "")
        if other:
            self._unlike.add(self._entry(kind))
            raise self.refusal(f"{kind}: its processor returns other {other} with a cache")

    def compare_names(self, kind: Kind, passed: Iterable[str], made: Iterable[str]) -> None:
        """See that each array that a model is passed was made by its processor.

        Raises:
            ValueError: one came to it later, and may be made of pixels, which a cache does not hand on.
        """
        other = next((name for name in passed if name not in {*made}), "")
        if other:
            raise self.refusal(f"{kind}: its processor did not return {other!r}, which may be made of pixels")

    @contextmanager
    def refusing(self, kind: Kind) -> Iterator[None]:
        """Make a refusal of whatever is raised in the block, after the model itself has raised nothing."""
        try:
            yield
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            raise self.refusal(f"{kind} can't be encoded one by one ({why})") from error

    def refusal(self, what: str) -> ValueError:
        """Make the error of something that is not as it was proven."""
        known = versions_with(self.package)
        best = self.version if self.version in known else "".join(known[-1:])
        way = best and f", or pip install --force-reinstall 'mlx-vlm=={best}', which is proven"
        where = f"{self.package} of mlx-vlm {self.version}: {what}"
        return ValueError(f"{where}; nothing is stored; detach() to go on without a cache{way}")


@dataclass(frozen=True)
class Kind:
    """A kind of request: how many images and videos, their shapes, and what else may decide with them."""

    images: tuple[int, int]
    """How many images, and videos."""
    shapes: tuple[Any, ...] = ()
    """Shapes of their pixels: models treat sizes in different ways, and processors share a budget."""
    beside: str = ""
    """The content of inputs that belong neither to the prompt's tokens nor to an image."""
    tokens: int = 0
    """How many bits the number of the prompt's tokens has: models may treat long prompts otherwise."""
    padded: bool = False
    """Set where a mask leaves out some of the prompt."""
    sizes: tuple[Any, ...] = ()
    """How many bits the number of pixels of one image has; of several, which may be sorted, their sizes."""

    @classmethod
    def of(cls, images: int, videos: int, pixels: Any, beside: str = "") -> Kind:
        """Name the kind of a request by its images and videos, their pixels, and what lies beside."""
        return cls((images, videos), tuple(tuple(a.shape) for a in leaves(pixels)), beside)

    def __str__(self) -> str:
        numbers = ("", "a", "two", "three")
        named = zip(("image", "video"), self.images, strict=True)
        said = [
            f"{numbers[n] if n < len(numbers) else 'several'} {one}{'s' * (n > 1)}" for one, n in named if n
        ]
        return " and ".join(said).replace("a image", "an image")


def unreadable(pixels: Any) -> Any:
    """Return NaNs of the shape and type of pixels, an array or a tree of them."""

    def told(array: Any) -> Any:
        if isinstance(array, mx.array):
            return stand_in(array.shape, str(dtype_of(array)), bytes(16).hex())
        if isinstance(array, np.ndarray) and array.dtype.kind == "f":
            return np.full_like(array, np.nan)
        return array

    return tree_map(told, pixels)


def _differing(plain: Any, given: Any, *, exact: bool) -> str:
    """Name something in which two embeddings of a prompt differ; nothing where they agree."""
    expected, found = (
        dict(tree_flatten({n: v for n, v in _fields(features).items() if v is not None}))
        for features in (plain, given)
    )
    close = _equal if exact else _near
    return next((n for n in expected.keys() | found.keys() if not close(expected.get(n), found.get(n))), "")


def _fields(features: Any) -> dict[str, Any]:
    if hasattr(features, "to_dict"):
        fields: dict[str, Any] = features.to_dict()
        return fields
    return dict(vars(features)) if hasattr(features, "__dict__") else {"output": features}


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, mx.array) and isinstance(other, mx.array):
        return (
            one.shape == other.shape and one.dtype == other.dtype and bool(mx.array_equal(one, other).item())
        )
    if any(isinstance(value, (list, tuple)) for value in (one, other)):  # of arrays; of the other, the rows
        sized = hasattr(one, "__len__") and hasattr(other, "__len__")
        return sized and len(one) == len(other) and all(map(_equal, one, other))
    if hasattr(one, "shape") or hasattr(other, "shape"):
        return bool(np.array_equal(np.asarray(one), np.asarray(other)))
    if type(one) is not type(other):
        return False
    if isinstance(one, dict) or hasattr(one, "__dict__"):
        first, second = (value if isinstance(value, dict) else vars(value) for value in (one, other))
        return first.keys() == second.keys() and all(_equal(first[name], second[name]) for name in first)
    return bool(one == other)


def _near(one: Any, other: Any) -> bool:
    if not (
        isinstance(one, mx.array) and isinstance(other, mx.array) and mx.issubdtype(one.dtype, mx.floating)
    ):
        return _equal(one, other)
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    most = SLIGHT.get(str(dtype_of(one)), 0.0)
    wide, of = one.astype(mx.float32), other.astype(mx.float32)
    apart = mx.where(wide == of, 0, mx.abs(wide - of)).max()  # infinities of a mask are equal
    scale = mx.abs(mx.where(mx.isinf(wide), 0, wide)).max()
    return bool((apart <= most * scale).item())  # NaN is near nothing
