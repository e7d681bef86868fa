"""Objects: describe an object by its class, its attributes and slots, and what its C code holds."""

from __future__ import annotations

import copyreg
import random
from io import IOBase
from types import MethodDescriptorType
from typing import TYPE_CHECKING, Any
from weakref import ref

import mlx.core as mx
import numpy as np
from mlx import nn
from transformers import PreTrainedTokenizerBase

from visioncache.vlm.scope import code, programs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from visioncache.vlm.scope.anatomy import Anatomy, Child


def modules_among(values: Iterable[Any]) -> list[nn.Module]:
    """All modules among values, and in their containers and attributes."""
    found: dict[int, nn.Module] = {}
    todo = list(values)
    while todo:
        value = todo.pop()
        if isinstance(value, nn.Module):
            if id(value) in found:
                continue
            found[id(value)] = value
            todo += vars(value).values()
        if isinstance(value, dict):
            todo += value.values()
        elif isinstance(value, (list, tuple)):
            todo += value
    return [*found.values()]


_ANOTHER_EACH_TIME = (random.Random, np.random.Generator, np.random.RandomState, np.random.BitGenerator)
"""Objects that change when they are asked, as iterators do."""


def other(anatomy: Anatomy, path: str, value: Any) -> list[Child]:
    """Describe an object of no kind that is known: a library's by its name, any other by all it holds."""
    root, kind = code.root_of(type(value)), type(value).__qualname__
    if root == "typing":
        anatomy.say("typing", str(value))
        return []
    if root == "tokenizers":  # what turns text into numbers decides no pixels
        anatomy.say("tokenizers", kind)
        return []
    if kind == "_tuplegetter":  # a field of a named tuple's
        return anatomy.row("field", path, _reduced(value)[1])
    if code.library(root) and callable(value) and programs.is_found(value):
        return programs.builtin(anatomy, path, value)
    is_iterator = hasattr(type(value), "__next__") and not isinstance(value, IOBase)
    if isinstance(value, _ANOTHER_EACH_TIME) or is_iterator:
        return anatomy.refuse(path, f"a {kind}, which is another each time")
    if root in ("nanobind", "mlx") and not isinstance(value, nn.Module):
        if callable(value):
            return programs.compiled(anatomy, path, value)
        anatomy.say("mlx", kind)  # a stream, which decides when, not what
        return []
    return instance(anatomy, path, value)


def instance(anatomy: Anatomy, path: str, value: Any) -> list[Child]:
    """Describe an object by its class, attributes and slots; by its pickle, where it has one of its own."""
    kind = anatomy.watch.kind(value)
    children: list[Child] = [(f"{path}.__class__", kind)]
    if hasattr(value, "__dict__") and not isinstance(value, nn.Module):
        children += anatomy.named("has", path, anatomy.watch.fields(value))
    slots = copyreg._slotnames(kind)  # type: ignore[attr-defined]  # noqa: SLF001
    if slots:
        children += anatomy.named("slots", path, anatomy.watch.slots(value, slots))
    if isinstance(value, mx.array) or (isinstance(value, dict) and not _pickles_itself(kind)):
        return children
    try:
        reduced = _reduced(value)
    except Exception:  # noqa: BLE001  # whatever its class raises
        return [*children, *anatomy.refuse(path, f"a {kind.__qualname__}, which can't be described")]
    if not _pickles_itself(kind):
        return children + anatomy.row("new", path, reduced[1][1:])
    if not isinstance(value, np.ndarray) and not anatomy.is_glance:
        anatomy.watch.told(lambda: _digest(anatomy.glance(), value))
    return children + anatomy.row("reduced", path, reduced)


def _pickles_itself(kind: type) -> bool:
    """Tell if a class says itself what its objects consist of; where only Python does, nothing is hidden."""
    plain: Any = object
    by_c = isinstance(kind.__getstate__, MethodDescriptorType) and kind.__getstate__ is not plain.__getstate__
    return by_c or kind.__reduce__ is not plain.__reduce__ or kind.__reduce_ex__ is not plain.__reduce_ex__


def chosen(anatomy: Anatomy, owner: Any, held: dict[Any, Any]) -> dict[Any, Any]:
    """Leave out of a module's attributes what decides nothing, and take what it set itself as it was."""
    if anatomy.counts is None or not isinstance(owner, nn.Module):
        return held
    anatomy.lasts = False
    own = {name: item for name, item in held.items() if anatomy.counts(name, item)}
    return {name: anatomy.was(owner, name, item) for name, item in own.items()} if anatomy.was else own


def _tokenizer(anatomy: Anatomy, path: str, value: Any) -> list[Child]:
    """Describe a tokenizer by what the code that makes pixels reads of it."""
    anatomy.lasts = False
    anatomy.say("tokenizer", type(value).__qualname__)
    own = anatomy.watch.fields(value, lambda name, _: name in anatomy.reads)
    return anatomy.named("reads", path, {name: own[name] for name in own.keys() & anatomy.reads})


def _reference(anatomy: Anatomy, path: str, value: ref[Any]) -> list[Child]:
    return anatomy.row("ref", path, [anatomy.watch.told(value)])


def _reduced(value: Any) -> list[Any]:
    """An object as it would be pickled, with the items of its iterators."""
    reduced = object.__reduce_ex__(value, 2)
    if isinstance(reduced, str):
        return [reduced]
    function, arguments, *rest = reduced
    return [function, arguments, *(list(one) if hasattr(one, "__next__") else one for one in rest)]


def _digest(alone: Anatomy, value: Any) -> str:
    for part in _reduced(value):
        alone.add("", part)
    return alone.digest


DESCRIBED = ((PreTrainedTokenizerBase, _tokenizer), (ref, _reference))
