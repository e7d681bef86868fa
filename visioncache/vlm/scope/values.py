"""Values: describe arrays, numbers, containers and whatever else says all that there is to it."""

from __future__ import annotations

import types
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from logging import Logger
from pathlib import PurePath
from re import Pattern
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from mlx import nn
from PIL import Image

from visioncache.keys import Key
from visioncache.vlm.scope import objects
from visioncache.vlm.scope.written import in_memory_of_its_own

if TYPE_CHECKING:
    from visioncache.vlm.scope.anatomy import Anatomy, Child

PIECE = 64 * 2**20
"""Bytes of an array that are hashed at a time."""

_SMALL = 2**20
"""Bytes of a numpy array up to which it is kept to be compared with; of a larger one a digest is."""

_DEEP = 2
"""Sets of objects that lie in one another."""

PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...), type(NotImplemented))
_SAY_ALL = (
    *(mx.Dtype, mx.Device, np.dtype, Decimal, Fraction, PurePath),
    *(types.GenericAlias, types.UnionType),
)
"""Types that say in a string all that there is to them, and never change."""

# Values -------------------------------------------------------------------------------------


def _array(anatomy: Anatomy, path: str, value: Any) -> list[Child]:
    own = isinstance(value, np.ndarray)
    if own and value.dtype.hasobject:
        anatomy.watch.told(lambda: [*map(id, value.ravel())])
        return anatomy.row("objects", path, [value.shape, *value.ravel()])
    if own:  # which anybody may write into
        anatomy.watch.told(value.tobytes if value.nbytes <= _SMALL else lambda: content(value))
    anatomy.say("array", content(value) if own else anatomy.content(value))
    return objects.instance(anatomy, path, value) if type(value) not in (mx.array, np.ndarray) else []


def _number(anatomy: Anatomy, _: str, value: np.generic) -> list[Child]:
    anatomy.say("numpy", str(value.dtype), value.tobytes().hex())
    return []


def _said(anatomy: Anatomy, path: str, value: Any) -> list[Child]:
    anatomy.say("says", f"{type(value).__module__}.{type(value).__qualname__}", str(value))
    own = anatomy.watch.fields(value) if hasattr(value, "__dict__") else {}
    return anatomy.named("has", path, own) if own else []


def _enum(anatomy: Anatomy, path: str, value: Enum) -> list[Child]:
    own = anatomy.watch.fields(value)
    users = {name: one for name, one in own.items() if not (name.startswith("_") and name.endswith("_"))}
    anatomy.say("enum", value.name or "")
    return anatomy.row("is", path, [type(value), value.value]) + anatomy.named("has", path, users)


def _range(anatomy: Anatomy, path: str, value: Any) -> list[Child]:
    return anatomy.row(type(value).__name__, path, [value.start, value.stop, value.step])


def _pattern(anatomy: Anatomy, path: str, value: Pattern[Any]) -> list[Child]:
    return anatomy.row("pattern", path, [value.pattern, value.flags])


def _picture(anatomy: Anatomy, path: str, value: Image.Image) -> list[Child]:
    anatomy.say("picture", anatomy.watch.told(lambda: Key.from_image(value).text))
    return [(f"{path}.info", value.info)]


def _logger(anatomy: Anatomy, _: str, value: Logger) -> list[Child]:
    anatomy.say("logger", value.name)
    return []


def _dict(anatomy: Anatomy, path: str, value: Any) -> list[Child]:
    counts = anatomy.counts if isinstance(value, nn.Module) else None
    is_module = isinstance(value, nn.Module)
    held = anatomy.watch.mapping(value, counts, in_order=not is_module)
    if is_module:  # an attribute lies here or there, as its value is an array or none
        held = {**held, **anatomy.watch.fields(value, counts)}
    held = objects.chosen(anatomy, value, held)
    if not is_module and len(held) > 1 and all(type(name) is str for name in held):
        anatomy.say("in order", *held)
    if all(type(name) is str for name in held):
        children = anatomy.named("dict", path, held)
    else:
        children = anatomy.row("pairs", path, [part for pair in held.items() for part in pair])
    return children + (objects.instance(anatomy, path, value) if type(value) not in _CONTAINERS else [])


def _list(anatomy: Anatomy, path: str, value: list[Any]) -> list[Child]:
    children = anatomy.row("list", path, anatomy.watch.items(value))
    return children + (objects.instance(anatomy, path, value) if type(value) is not list else [])


def _tuple(anatomy: Anatomy, path: str, value: tuple[Any, ...]) -> list[Child]:
    return anatomy.row("tuple", path, tuple.__iter__(value)) + objects.instance(anatomy, path, value)


def _set(anatomy: Anatomy, path: str, value: Any) -> list[Child]:
    said, others = [], []
    for member in anatomy.watch.members(value):  # in an order that no hash decides
        if type(member) in PLAIN:
            said.append(f"{type(member).__name__} {member!r}")
        elif isinstance(member, (Enum, type, types.FunctionType, types.BuiltinFunctionType)):
            name = member.name if isinstance(member, Enum) else member.__qualname__
            others.append((f"{type(member).__qualname__} {member.__module__}.{name}", member))
        else:
            said.append(_alone(anatomy, path, member))
    anatomy.say(type(value).__name__, str(len(said)), *sorted(said))
    children = anatomy.row("others", path, [one for _, one in sorted(others, key=lambda pair: pair[0])])
    return children + (objects.instance(anatomy, path, value) if type(value) not in _CONTAINERS else [])


def _alone(anatomy: Anatomy, path: str, member: Any) -> str:
    """The digest of a member of a set, which may hold no more sets of objects than a few."""
    if anatomy.depth > _DEEP:
        anatomy.refuse(path, "a set in a set in a set, which can't be described")
        return ""
    alone = anatomy.inside()
    alone.add(path, member)
    anatomy.opaque += alone.closed().opaque
    anatomy.users += alone.users
    anatomy.lasts &= alone.lasts
    anatomy.watch.include(alone.watch)
    return alone.digest


def content(array: Any) -> str:
    """An array's dtype, shape and content; of one in a GPU's own memory, that of copies of its pieces.

    numpy reads CUDA's arrays by moving them to the host's memory, where they then stay.
    """
    if isinstance(array, np.ndarray):
        return Key.from_array(array).text
    is_apart = in_memory_of_its_own()
    values = array.reshape(-1).view(mx.uint8) if is_apart else _bytes(array)
    pieces = (values[start : start + PIECE] for start in range(0, values.size, PIECE))
    keys = (Key.from_array(mx.bitwise_or(piece, 0) if is_apart else piece) for piece in pieces)
    return " ".join([str(array.dtype), str(array.shape), *(key.text for key in keys)])


def _bytes(array: mx.array) -> Any:
    """Give an array's bytes as numpy's, where it lies: MLX takes three times as long for a small one."""
    known = array.view(mx.uint16) if array.dtype == mx.bfloat16 else array
    return np.ascontiguousarray(np.asarray(known)).reshape(-1).view(np.uint8)


_CONTAINERS = (dict, list, set, frozenset, types.MappingProxyType)
FIRST = (
    ((mx.array, np.ndarray), _array),
    (np.generic, _number),
    (Enum, _enum),
    (_SAY_ALL, _said),
    ((range, slice), _range),
    (Pattern, _pattern),
    (Image.Image, _picture),
    (Logger, _logger),
)
CONTAINERS = (
    ((dict, types.MappingProxyType), _dict),
    (list, _list),
    (tuple, _tuple),
    ((set, frozenset), _set),
)
