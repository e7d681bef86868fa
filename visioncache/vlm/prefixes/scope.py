"""Scope: what keys and values depend on besides the prompt, which is all of the model."""

from __future__ import annotations

import itertools
import secrets
import weakref
from functools import partial
from typing import Any, ClassVar

from mlx_vlm.models import cache

from visioncache.vlm.fingerprint import Fingerprint, versions
from visioncache.vlm.scope.anatomy import Anatomy
from visioncache.vlm.scope.classes import foreign
from visioncache.vlm.scope.described import Described
from visioncache.vlm.scope.written import is_written
from visioncache.vlm.training import TRAINS, TrainingMode

_SMALL = 1 << 16
"""Bytes that are hashed faster than they are worth telling apart."""


class Scope:
    """The identity of a whole model: code, settings, weights and adapters, and what computes with them.

    Taken anew when anything there is another object than before, or was written into.

    Args:
        model: the model.
        lasting: name weights by their content, as a store wants that outlives this process; else by which
            arrays they are, so that nothing large is hashed.
    """

    def __init__(self, model: Any, *, lasting: bool) -> None:
        self._model = model
        self._fingerprint = Fingerprint(model, whole=True, anatomy=Anatomy if lasting else _OfThisProcess)
        self._training = TrainingMode(self._fingerprint)
        self._kept = _Kept()

    def is_of(self, model: Any) -> bool:
        """Tell whether it is this model's."""
        return self._model is model

    @property
    def text(self) -> str:
        """128 bits over the model as it is now, with the versions and the kind of device."""
        _ = self._fingerprint.digest, self._kept.digest  # which look at what there is now
        return self.last

    @property
    def last(self) -> str:
        """The same as of the last look at the model, which `refusal` is too."""
        return f"{self._fingerprint.last}/{self._kept.last}/{versions()}"

    @property
    def refusal(self) -> str:
        """Why nothing of the model may be kept now; empty where it may."""
        _ = self._fingerprint.digest, self._kept.digest  # which look at what there is now
        if self._model.training or self._training.is_on():
            return TRAINS
        return self._fingerprint.opaque or self._kept.opaque


class _Kept(Described):
    """The code that keeps keys and values, of mlx-vlm's classes and of whoever changed them."""

    def _taken(self, before: Anatomy | None) -> Anatomy:
        anatomy = Anatomy(before)
        kinds = (one for one in vars(cache).values() if isinstance(one, type))
        anatomy.add(cache.__name__, foreign(anatomy.watch, kinds))
        for module in (cache.__name__, "mlx_vlm.generate.common", "mlx_vlm.generate.ar"):
            anatomy.strangers(module)
        return anatomy


class _OfThisProcess(Anatomy):
    """An anatomy that tells arrays apart by which they are."""

    _nonce: ClassVar[str] = secrets.token_hex(8)
    _numbers: ClassVar[itertools.count[int]] = itertools.count()
    _known_arrays: ClassVar[dict[int, tuple[Any, Any, int]]] = {}

    def told_apart(self, array: Any, twin: Any) -> str:
        if array.nbytes <= _SMALL:  # some models make these anew with every call, and of the same content
            return super().told_apart(array, twin)
        known, its_twin, number = self._known_arrays.get(id(array), (None, None, 0))
        if known is None or known() is not array or is_written(twin, its_twin):
            number = next(self._numbers)
            name = id(array)
            gone = weakref.ref(array, partial(self._forget, name))
            self._known_arrays[name] = gone, twin, number
        return f"{self._nonce} {number}"

    @classmethod
    def _forget(cls, name: int, ref: Any) -> None:
        if name in cls._known_arrays and cls._known_arrays[name][0] is ref:
            del cls._known_arrays[name]
