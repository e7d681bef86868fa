"""Recognise: a model whose family is not in the table, but which is laid out as many in it are.

A vision tower, then a projector whose output the language model is given: all images of a request
are one entry, as nothing says where one ends. That the model reads the pixels nowhere else is not
believed but seen, whenever such a request is encoded for the first time.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten

from visioncache.sizes import dtype_of
from visioncache.vlm.families.family import Family
from visioncache.vlm.families.layouts import ROWS
from visioncache.vlm.families.left_out import LEFT_OUT
from visioncache.vlm.families.proven import package_of
from visioncache.vlm.families.table import FAMILIES, KIN
from visioncache.vlm.request.stand_in import stand_in

if TYPE_CHECKING:
    from collections.abc import Callable

TOWERS = ("vision_tower", "vision_model", "vision_encoder")
PROJECTORS = ("multi_modal_projector", "mm_projector")


def family_of(model: Any) -> Family:
    """The family of a model: its row in the table, or its kin's, or what its layout makes it.

    Raises:
        ValueError: it has neither.
    """
    name = package_of(model)
    family = FAMILIES.get(name) or KIN.get(name) or _recognised(model, name)
    if family is None:
        raise ValueError(_refusal(model))
    return family


def _refusal(model: Any) -> str:
    """One line that says why a model is not supported: its name is not, or it is not what its name says."""
    kind = getattr(getattr(model, "config", None), "model_type", None)
    if isinstance(kind, str) and (kind in FAMILIES or kind in KIN):
        cls = type(model)
        return (
            f"this model is a {cls.__module__}.{cls.__qualname__}, though its config says {kind!r}; what is "
            f"supported by that name is mlx_vlm.models.{kind}.Model, as mlx_vlm.load returns it"
        )
    name = kind or type(model).__name__
    why = f": {LEFT_OUT[name]}" if name in LEFT_OUT else ""
    return f"models of type {name!r} are not supported{why}; `visioncache families` lists those that are"


def _recognised(model: Any, name: str) -> Family | None:
    tower = next((part for part in TOWERS if hasattr(model, part)), None)
    projector = next((part for part in PROJECTORS if callable(getattr(model, part, None))), None)
    embed = getattr(type(model), "get_input_embeddings", None)
    if tower is None or projector is None or embed is None:
        return None
    if "pixel_values" not in inspect.signature(embed).parameters:
        return None
    note = (
        f"{name} is not in visioncache's table of families; its {tower} and {projector} are laid out as in "
        "many that are, so the images of a request are kept together, and checked when first encoded"
    )
    return Family(name, projector, ROWS, "seam", granularity="request", recognised=note)


def confirm(plain: Any, inputs: dict[str, Any], embed: Callable[[dict[str, Any]], Any]) -> None:
    """See that a hit gives what the model itself gives, though its pixels are none.

    Raises:
        ValueError: it does not.
    """
    pixels = inputs["pixel_values"]
    dtype = str(dtype_of(pixels))
    told = stand_in(pixels.shape, dtype, bytes(16).hex())
    expected, given = (
        dict(tree_flatten({n: v for n, v in features.to_dict().items() if v is not None}))
        for features in (plain, embed({**inputs, "pixel_values": told}))
    )
    differing = [n for n in expected.keys() | given.keys() if not _same(expected.get(n), given.get(n))]
    if differing:
        raise ValueError(
            f"this model is laid out like others, but what it gives its language model ({differing[0]}) "
            "depends on the pixels beside its projector; it is not supported"
        )


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, mx.array) and isinstance(other, mx.array):
        return one.shape == other.shape and bool(mx.array_equal(one, other).item())
    return type(one) is type(other) and bool(np.all(one == other))
